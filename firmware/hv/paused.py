"""A guest that stands still for a while: with g.paused()."""


class Paused:
    def __init__(self, guest):
        self._guest = guest
        self._resume = False

    def __enter__(self):
        if self._guest.state == "running":
            try:
                self._guest.pause()
                self._resume = True
            except OSError:
                if self._guest.state == "running":
                    raise
                # it ended just now: it stands still, too
        return self._guest

    def __exit__(self, *error):
        guest = self._guest
        if self._resume and guest.exists() and guest.state == "paused":
            guest.resume()
