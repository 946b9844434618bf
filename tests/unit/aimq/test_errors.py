from aimq import errors


def every_class(root=errors.AimqError):
    yield root
    for child in root.__subclasses__():
        yield from every_class(child)


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = errors.__doc__
    for cls in every_class():
        if cls.__module__ == "aimq.errors":
            assert cls.__name__ in drawn


def test_only_transient_errors_are_retried_and_they_are_no_fault_of_the_client():
    for cls in every_class():
        assert cls.retryable == issubclass(cls, errors.TransientError)
        assert (400 <= cls.status < 500) <= (
            issubclass(cls, errors.ClientError | errors.RateLimited | errors.MessageRejected)
        )
