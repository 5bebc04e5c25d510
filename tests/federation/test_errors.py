import pickle

import pytest

from federation import errors


def test_a_refusal_names_its_rule_and_its_reason():
    refusal = errors.Refused("auth 4.3.1", "the sender is banned")
    assert (refusal.rule, refusal.why) == ("auth 4.3.1", "the sender is banned")
    assert str(refusal) == "auth 4.3.1: the sender is banned"
    assert str(pickle.loads(pickle.dumps(refusal))) == str(refusal)


@pytest.mark.parametrize("kind", ["BadEvent", "EventTooLarge", "BadSignature", "BadServerKeys", "BadRequestAuth"])
def test_what_a_peer_does_wrong_is_the_peers_fault_and_no_refusal(kind):
    assert issubclass(getattr(errors, kind), errors.RemoteFault)
    assert not issubclass(errors.RemoteFault, errors.Refused | ValueError)
