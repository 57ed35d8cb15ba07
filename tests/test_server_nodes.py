"""Parameter servers over several nodes: what holds on one holds there. PYCCL_NODE_SIZE makes several of one machine."""

from __future__ import annotations

from tests import (
    mpi,
    test_server_bad_input,
    test_server_golden,
    test_server_leader,
    test_server_model,
    test_server_push_pull,
    test_server_refusals,
    test_server_rules,
    test_server_snapshots,
    test_server_soak,
    test_server_tables,
    test_server_view,
)

EACH, PAIRS = {"PYCCL_NODE_SIZE": "1"}, {"PYCCL_NODE_SIZE": "2"}

test_bad_input = mpi.checks(vars(test_server_bad_input), EACH)
test_golden = mpi.checks(vars(test_server_golden), EACH)
test_leader = mpi.checks(vars(test_server_leader), PAIRS)
test_model = mpi.checks(vars(test_server_model), EACH)
test_push_pull = mpi.checks(vars(test_server_push_pull), PAIRS)
test_refusals = mpi.checks(vars(test_server_refusals), EACH)
test_rules = mpi.checks(vars(test_server_rules), EACH)
test_snapshots = mpi.checks(vars(test_server_snapshots), PAIRS)
test_soak = mpi.checks(vars(test_server_soak), EACH)
test_tables = mpi.checks(vars(test_server_tables), PAIRS)
test_view = mpi.checks(vars(test_server_view), EACH)
