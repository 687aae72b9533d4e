"""The fields of the control structures by the manuals' names, for v.vmcs and v.vmcb.

Intel SDM volume 3D, appendix B (without the prefix of the encodings that differ in width
only); AMD APM volume 2, tables B-1 and B-2, as offset and size in bytes.
"""

VMCS = {
    "VPID": 0x0000,
    "GUEST_ES_SELECTOR": 0x0800,
    "GUEST_CS_SELECTOR": 0x0802,
    "GUEST_SS_SELECTOR": 0x0804,
    "GUEST_DS_SELECTOR": 0x0806,
    "GUEST_FS_SELECTOR": 0x0808,
    "GUEST_GS_SELECTOR": 0x080A,
    "GUEST_LDTR_SELECTOR": 0x080C,
    "GUEST_TR_SELECTOR": 0x080E,
    "HOST_ES_SELECTOR": 0x0C00,
    "HOST_CS_SELECTOR": 0x0C02,
    "HOST_SS_SELECTOR": 0x0C04,
    "HOST_DS_SELECTOR": 0x0C06,
    "HOST_FS_SELECTOR": 0x0C08,
    "HOST_GS_SELECTOR": 0x0C0A,
    "HOST_TR_SELECTOR": 0x0C0C,
    "IO_BITMAP_A": 0x2000,
    "IO_BITMAP_B": 0x2002,
    "MSR_BITMAPS": 0x2004,
    "TSC_OFFSET": 0x2010,
    "EPT_POINTER": 0x201A,
    "XSS_EXIT_BITMAP": 0x202C,
    "GUEST_PHYSICAL_ADDRESS": 0x2400,
    "VMCS_LINK_POINTER": 0x2800,
    "GUEST_IA32_DEBUGCTL": 0x2802,
    "GUEST_IA32_PAT": 0x2804,
    "GUEST_IA32_EFER": 0x2806,
    "GUEST_PDPTE0": 0x280A,
    "GUEST_PDPTE1": 0x280C,
    "GUEST_PDPTE2": 0x280E,
    "GUEST_PDPTE3": 0x2810,
    "HOST_IA32_PAT": 0x2C00,
    "HOST_IA32_EFER": 0x2C02,
    "PIN_BASED_CONTROLS": 0x4000,
    "PRIMARY_CONTROLS": 0x4002,
    "EXCEPTION_BITMAP": 0x4004,
    "PAGE_FAULT_ERROR_CODE_MASK": 0x4006,
    "PAGE_FAULT_ERROR_CODE_MATCH": 0x4008,
    "CR3_TARGET_COUNT": 0x400A,
    "EXIT_CONTROLS": 0x400C,
    "EXIT_MSR_STORE_COUNT": 0x400E,
    "EXIT_MSR_LOAD_COUNT": 0x4010,
    "ENTRY_CONTROLS": 0x4012,
    "ENTRY_MSR_LOAD_COUNT": 0x4014,
    "ENTRY_INTERRUPTION_INFO": 0x4016,
    "ENTRY_EXCEPTION_ERROR_CODE": 0x4018,
    "ENTRY_INSTRUCTION_LENGTH": 0x401A,
    "SECONDARY_CONTROLS": 0x401E,
    "INSTRUCTION_ERROR": 0x4400,
    "EXIT_REASON": 0x4402,
    "EXIT_INTERRUPTION_INFO": 0x4404,
    "EXIT_INTERRUPTION_ERROR_CODE": 0x4406,
    "IDT_VECTORING_INFO": 0x4408,
    "IDT_VECTORING_ERROR_CODE": 0x440A,
    "EXIT_INSTRUCTION_LENGTH": 0x440C,
    "EXIT_INSTRUCTION_INFO": 0x440E,
    "GUEST_ES_LIMIT": 0x4800,
    "GUEST_CS_LIMIT": 0x4802,
    "GUEST_SS_LIMIT": 0x4804,
    "GUEST_DS_LIMIT": 0x4806,
    "GUEST_FS_LIMIT": 0x4808,
    "GUEST_GS_LIMIT": 0x480A,
    "GUEST_LDTR_LIMIT": 0x480C,
    "GUEST_TR_LIMIT": 0x480E,
    "GUEST_GDTR_LIMIT": 0x4810,
    "GUEST_IDTR_LIMIT": 0x4812,
    "GUEST_ES_ACCESS_RIGHTS": 0x4814,
    "GUEST_CS_ACCESS_RIGHTS": 0x4816,
    "GUEST_SS_ACCESS_RIGHTS": 0x4818,
    "GUEST_DS_ACCESS_RIGHTS": 0x481A,
    "GUEST_FS_ACCESS_RIGHTS": 0x481C,
    "GUEST_GS_ACCESS_RIGHTS": 0x481E,
    "GUEST_LDTR_ACCESS_RIGHTS": 0x4820,
    "GUEST_TR_ACCESS_RIGHTS": 0x4822,
    "GUEST_INTERRUPTIBILITY_STATE": 0x4824,
    "GUEST_ACTIVITY_STATE": 0x4826,
    "GUEST_SMBASE": 0x4828,
    "GUEST_IA32_SYSENTER_CS": 0x482A,
    "VMX_PREEMPTION_TIMER_VALUE": 0x482E,
    "HOST_IA32_SYSENTER_CS": 0x4C00,
    "CR0_GUEST_HOST_MASK": 0x6000,
    "CR4_GUEST_HOST_MASK": 0x6002,
    "CR0_READ_SHADOW": 0x6004,
    "CR4_READ_SHADOW": 0x6006,
    "EXIT_QUALIFICATION": 0x6400,
    "GUEST_LINEAR_ADDRESS": 0x640A,
    "GUEST_CR0": 0x6800,
    "GUEST_CR3": 0x6802,
    "GUEST_CR4": 0x6804,
    "GUEST_ES_BASE": 0x6806,
    "GUEST_CS_BASE": 0x6808,
    "GUEST_SS_BASE": 0x680A,
    "GUEST_DS_BASE": 0x680C,
    "GUEST_FS_BASE": 0x680E,
    "GUEST_GS_BASE": 0x6810,
    "GUEST_LDTR_BASE": 0x6812,
    "GUEST_TR_BASE": 0x6814,
    "GUEST_GDTR_BASE": 0x6816,
    "GUEST_IDTR_BASE": 0x6818,
    "GUEST_DR7": 0x681A,
    "GUEST_RSP": 0x681C,
    "GUEST_RIP": 0x681E,
    "GUEST_RFLAGS": 0x6820,
    "GUEST_PENDING_DEBUG_EXCEPTIONS": 0x6822,
    "GUEST_IA32_SYSENTER_ESP": 0x6824,
    "GUEST_IA32_SYSENTER_EIP": 0x6826,
    "HOST_CR0": 0x6C00,
    "HOST_CR3": 0x6C02,
    "HOST_CR4": 0x6C04,
    "HOST_FS_BASE": 0x6C06,
    "HOST_GS_BASE": 0x6C08,
    "HOST_TR_BASE": 0x6C0A,
    "HOST_GDTR_BASE": 0x6C0C,
    "HOST_IDTR_BASE": 0x6C0E,
    "HOST_IA32_SYSENTER_ESP": 0x6C10,
    "HOST_IA32_SYSENTER_EIP": 0x6C12,
    "HOST_RSP": 0x6C14,
    "HOST_RIP": 0x6C16,
}

VMCB = {
    "INTERCEPT_CR_READ": (0x000, 2),
    "INTERCEPT_CR_WRITE": (0x002, 2),
    "INTERCEPT_DR_READ": (0x004, 2),
    "INTERCEPT_DR_WRITE": (0x006, 2),
    "INTERCEPT_EXCEPTIONS": (0x008, 4),
    "INTERCEPT_VECTOR3": (0x00C, 4),
    "INTERCEPT_VECTOR4": (0x010, 4),
    "INTERCEPT_VECTOR5": (0x014, 4),
    "PAUSE_FILTER_THRESHOLD": (0x03C, 2),
    "PAUSE_FILTER_COUNT": (0x03E, 2),
    "IOPM_BASE_PA": (0x040, 8),
    "MSRPM_BASE_PA": (0x048, 8),
    "TSC_OFFSET": (0x050, 8),
    "GUEST_ASID": (0x058, 4),
    "TLB_CONTROL": (0x05C, 1),
    "V_INTR": (0x060, 8),
    "INTERRUPT_SHADOW": (0x068, 8),
    "EXITCODE": (0x070, 8),
    "EXITINFO1": (0x078, 8),
    "EXITINFO2": (0x080, 8),
    "EXITINTINFO": (0x088, 8),
    "NP_ENABLE": (0x090, 8),
    "EVENTINJ": (0x0A8, 8),
    "N_CR3": (0x0B0, 8),
    "LBR_VIRTUALIZATION_ENABLE": (0x0B8, 8),
    "CLEAN_BITS": (0x0C0, 8),
    "NRIP": (0x0C8, 8),
    "ES_SELECTOR": (0x400, 2),
    "ES_ATTRIBUTES": (0x402, 2),
    "ES_LIMIT": (0x404, 4),
    "ES_BASE": (0x408, 8),
    "CS_SELECTOR": (0x410, 2),
    "CS_ATTRIBUTES": (0x412, 2),
    "CS_LIMIT": (0x414, 4),
    "CS_BASE": (0x418, 8),
    "SS_SELECTOR": (0x420, 2),
    "SS_ATTRIBUTES": (0x422, 2),
    "SS_LIMIT": (0x424, 4),
    "SS_BASE": (0x428, 8),
    "DS_SELECTOR": (0x430, 2),
    "DS_ATTRIBUTES": (0x432, 2),
    "DS_LIMIT": (0x434, 4),
    "DS_BASE": (0x438, 8),
    "FS_SELECTOR": (0x440, 2),
    "FS_ATTRIBUTES": (0x442, 2),
    "FS_LIMIT": (0x444, 4),
    "FS_BASE": (0x448, 8),
    "GS_SELECTOR": (0x450, 2),
    "GS_ATTRIBUTES": (0x452, 2),
    "GS_LIMIT": (0x454, 4),
    "GS_BASE": (0x458, 8),
    "GDTR_LIMIT": (0x464, 4),
    "GDTR_BASE": (0x468, 8),
    "LDTR_SELECTOR": (0x470, 2),
    "LDTR_ATTRIBUTES": (0x472, 2),
    "LDTR_LIMIT": (0x474, 4),
    "LDTR_BASE": (0x478, 8),
    "IDTR_LIMIT": (0x484, 4),
    "IDTR_BASE": (0x488, 8),
    "TR_SELECTOR": (0x490, 2),
    "TR_ATTRIBUTES": (0x492, 2),
    "TR_LIMIT": (0x494, 4),
    "TR_BASE": (0x498, 8),
    "CPL": (0x4CB, 1),
    "EFER": (0x4D0, 8),
    "CR4": (0x548, 8),
    "CR3": (0x550, 8),
    "CR0": (0x558, 8),
    "DR7": (0x560, 8),
    "DR6": (0x568, 8),
    "RFLAGS": (0x570, 8),
    "RIP": (0x578, 8),
    "RSP": (0x5D8, 8),
    "S_CET": (0x5E0, 8),
    "SSP": (0x5E8, 8),
    "ISST_ADDR": (0x5F0, 8),
    "RAX": (0x5F8, 8),
    "STAR": (0x600, 8),
    "LSTAR": (0x608, 8),
    "CSTAR": (0x610, 8),
    "SFMASK": (0x618, 8),
    "KERNEL_GS_BASE": (0x620, 8),
    "SYSENTER_CS": (0x628, 8),
    "SYSENTER_ESP": (0x630, 8),
    "SYSENTER_EIP": (0x638, 8),
    "CR2": (0x640, 8),
    "G_PAT": (0x668, 8),
    "DBGCTL": (0x670, 8),
    "BR_FROM": (0x678, 8),
    "BR_TO": (0x680, 8),
    "LASTEXCPFROM": (0x688, 8),
    "LASTEXCPTO": (0x690, 8),
}

# Bits of control words by the names that the headers of the core have for them (SDM volume
# 3C, 24.6 to 24.8; APM volume 2, table B-1).
BITS = {
    "PIN_BASED_CONTROLS": (
        (0, "EXTERNAL_INTERRUPT"), (3, "NMI"), (5, "VIRTUAL_NMI"), (6, "PREEMPTION_TIMER"),
    ),
    "PRIMARY_CONTROLS": (
        (2, "INTERRUPT_WINDOW"), (3, "TSC_OFFSET"), (7, "HLT"), (10, "MWAIT"), (11, "RDPMC"),
        (15, "CR3_LOAD"), (16, "CR3_STORE"), (19, "CR8_LOAD"), (20, "CR8_STORE"),
        (22, "NMI_WINDOW"), (23, "MOV_DR"), (24, "UNCONDITIONAL_IO"), (28, "MSR_BITMAPS"),
        (29, "MONITOR"), (31, "SECONDARY"),
    ),
    "SECONDARY_CONTROLS": (
        (1, "EPT"), (3, "RDTSCP"), (5, "VPID"), (6, "WBINVD"), (7, "UNRESTRICTED"),
        (12, "INVPCID"), (20, "XSAVES"),
    ),
    "EXIT_CONTROLS": (
        (2, "SAVE_DEBUG"), (9, "HOST_64"), (15, "ACK_INTERRUPT"), (18, "SAVE_PAT"),
        (19, "LOAD_PAT"), (20, "SAVE_EFER"), (21, "LOAD_EFER"),
    ),
    "ENTRY_CONTROLS": (
        (2, "LOAD_DEBUG"), (9, "IA32E"), (14, "LOAD_PAT"), (15, "LOAD_EFER"),
    ),
    "INTERCEPT_VECTOR3": (
        (0, "INTR"), (1, "NMI"), (2, "SMI"), (3, "INIT"), (4, "VINTR"), (5, "CR0_SEL_WRITE"),
        (15, "RDPMC"), (18, "CPUID"), (19, "RSM"), (20, "IRET"), (22, "INVD"), (24, "HLT"),
        (26, "INVLPGA"), (27, "IOIO_PROT"), (28, "MSR_PROT"), (30, "FERR_FREEZE"),
        (31, "SHUTDOWN"),
    ),
    "INTERCEPT_VECTOR4": (
        (0, "VMRUN"), (1, "VMMCALL"), (2, "VMLOAD"), (3, "VMSAVE"), (4, "STGI"), (5, "CLGI"),
        (6, "SKINIT"), (9, "WBINVD"), (10, "MONITOR"), (11, "MWAIT"), (12, "MWAIT_ARMED"),
        (13, "XSETBV"),
    ),
}

_WIDTHS = (2, 8, 4, 8)  # bytes, by bits 14:13 of an encoding (SDM volume 3D, appendix B)
_KINDS = ("control", "read-only data", "guest state", "host state")  # by bits 11:10


def width(structure, name):
    """Bytes of a field of "vmcs" or "vmcb"; 8 stands for the natural width, too."""
    if structure == "vmcb":
        return VMCB[name][1]
    return _WIDTHS[VMCS[name] >> 13 & 3]


def source(structure, name):
    """What kind of field it is, and the section of the manual."""
    if structure == "vmcb":
        offset = VMCB[name][0]
        area = ("control area", "B-1") if offset < 0x400 else ("state save area", "B-2")
        return "%s (AMD APM vol. 2, table %s)" % area
    return "%s (Intel SDM vol. 3D, appendix B)" % _KINDS[VMCS[name] >> 10 & 3]


def look(text):
    """(structure, name, lines) of each field that `text`, in small letters, may mean."""
    words = text.split()
    if len(words) == 2 and words[0] in ("vmcs", "vmcb", "field"):
        words = words[1:]
    name = "_".join(words).upper().replace("-", "_")
    for structure, table in (("vmcs", VMCS), ("vmcb", VMCB)):
        if name in table and not (text[:3] == "vmc" and not text.startswith(structure)):
            place = table[name]
            at = "offset 0x%x" % place[0] if structure == "vmcb" else "encoding 0x%04x" % place
            lines = ["place    %s, %d bytes" % (at, width(structure, name)),
                     'here     v.%s["%s"] at the prompt, while the guest is paused' % (
                         structure, name)]
            bits = ["%d %s" % row for row in BITS.get(name, ())]
            if bits:
                lines.append("bits     " + ", ".join(bits))
            yield structure, name, lines


def unpack(name, value):
    """The names of the bits of a control word that are set; unnamed ones as numbers."""
    names = dict(BITS.get(name, ()))
    return [names.get(bit, bit) for bit in range(64) if value >> bit & 1]


def pack(name, bits):
    """A control word from names and numbers of bits."""
    numbers = {text: bit for bit, text in BITS.get(name, ())}
    value = 0
    for bit in bits:
        if isinstance(bit, str) and bit not in numbers:
            raise ValueError("%s has no bit %s; it has %s" % (
                name, bit, ", ".join(sorted(numbers)) or "none with a name"))
        value |= 1 << numbers.get(bit, bit)
    return value
