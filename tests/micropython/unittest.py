# The part of `unittest` that MicroPython's own tests use, for the target: the source
# package that the monitor is built from carries none.
import sys


class SkipTest(Exception):
    pass


class _Raises:
    def __init__(self, expected):
        self.expected = expected
        self.exception = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            raise AssertionError("%r not raised" % self.expected)
        self.exception = value
        return issubclass(kind, self.expected)


class _SubTest:
    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        return False


class TestCase:
    def setUp(self):
        pass

    def tearDown(self):
        pass

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def fail(self, message=""):
        raise AssertionError(message)

    def skipTest(self, reason):
        raise SkipTest(reason)

    def subTest(self, message=None, **values):
        return _SubTest()

    def assertTrue(self, value, message=""):
        if not value:
            self.fail(message or "%r is not true" % (value,))

    def assertFalse(self, value, message=""):
        self.assertTrue(not value, message or "%r is not false" % (value,))

    def assertEqual(self, a, b, message=""):
        self.assertTrue(a == b, message or "%r != %r" % (a, b))

    def assertNotEqual(self, a, b, message=""):
        self.assertTrue(a != b, message or "%r == %r" % (a, b))

    def assertIs(self, a, b, message=""):
        self.assertTrue(a is b, message or "%r is not %r" % (a, b))

    def assertIsNot(self, a, b, message=""):
        self.assertTrue(a is not b, message or "%r is %r" % (a, b))

    def assertIsNone(self, a, message=""):
        self.assertIs(a, None, message)

    def assertIsNotNone(self, a, message=""):
        self.assertIsNot(a, None, message)

    def assertIn(self, a, b, message=""):
        self.assertTrue(a in b, message or "%r not in %r" % (a, b))

    def assertNotIn(self, a, b, message=""):
        self.assertTrue(a not in b, message or "%r in %r" % (a, b))

    def assertIsInstance(self, a, kind, message=""):
        self.assertTrue(isinstance(a, kind), message or "%r is no %r" % (a, kind))

    def assertLess(self, a, b, message=""):
        self.assertTrue(a < b, message or "%r >= %r" % (a, b))

    def assertLessEqual(self, a, b, message=""):
        self.assertTrue(a <= b, message or "%r > %r" % (a, b))

    def assertGreater(self, a, b, message=""):
        self.assertTrue(a > b, message or "%r <= %r" % (a, b))

    def assertGreaterEqual(self, a, b, message=""):
        self.assertTrue(a >= b, message or "%r < %r" % (a, b))

    def assertAlmostEqual(self, a, b, places=7, message="", delta=None):
        near = abs(a - b) <= delta if delta is not None else round(abs(a - b), places) == 0
        self.assertTrue(a == b or near, message or "%r is not near %r" % (a, b))

    def assertRaises(self, expected, call=None, *words, **named):
        context = _Raises(expected)
        if call is None:
            return context
        with context:
            call(*words, **named)


def skip(reason):
    def decorate(what):
        def skipped(self=None, *words):
            raise SkipTest(reason)

        if isinstance(what, type):
            what._skipped = reason
            return what
        return skipped

    return decorate


def skipIf(condition, reason):
    return skip(reason) if condition else lambda what: what


def skipUnless(condition, reason):
    return skipIf(not condition, reason)


def expectedFailure(test):
    def inverted(*words):
        try:
            test(*words)
        except AssertionError:
            return
        raise AssertionError("unexpected success")

    return inverted


class _Counts:
    def __init__(self):
        self.ran = self.failures = self.errors = self.skipped = 0


def _attempt(counts, name, case, skipped):
    try:
        if skipped is not None:
            raise SkipTest(skipped)
        case.setUp()
        try:
            getattr(case, name)()
        finally:
            case.tearDown()
        print(name, "... ok")
    except SkipTest as reason:
        print(name, "... skipped:", reason.args[0] if reason.args else "")
        counts.skipped += 1
    except AssertionError as error:
        print(name, "... FAIL")
        sys.print_exception(error)
        counts.failures += 1
    except Exception as error:
        print(name, "... ERROR")
        sys.print_exception(error)
        counts.errors += 1


def _run_case(counts, kind):
    case = kind()
    names = sorted(n for n in dir(case) if n.startswith("test") or n == "runTest")
    names = [n for n in names if callable(getattr(case, n))]
    skipped = getattr(kind, "_skipped", None)
    if skipped is None:
        kind.setUpClass()
    for name in names:
        counts.ran += 1
        _attempt(counts, name, case, skipped)
    if skipped is None:
        kind.tearDownClass()


def main(module="__main__", testRunner=None):
    # run-tests.py knows the five last lines.
    names = __import__(module).__dict__ if isinstance(module, str) else module.__dict__
    counts = _Counts()
    for name in sorted(names):
        kind = names[name]
        if isinstance(kind, type) and issubclass(kind, TestCase) and kind is not TestCase:
            _run_case(counts, kind)
    print("-" * 70)
    print("Ran %d tests\n" % counts.ran)
    if counts.failures or counts.errors:
        print("FAILED (failures=%d, errors=%d)" % (counts.failures, counts.errors))
    else:
        print("OK (skipped=%d)" % counts.skipped if counts.skipped else "OK")
