# Runs when Python ends, before a soft reset. The prompt's names are the person's: it keeps none.
def _leave():
    import hv

    hv._leave()


_leave()
del _leave
