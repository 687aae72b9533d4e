// Interned strings that no source file names as MP_QSTR_ (none at present).
// *FORMAT-OFF*
