import json

from polyroute.registry import load, names


def test_every_registered_policy_stands_in_the_taxonomy(run):
    listed = {said["name"]: said for said in json.loads(run("policies", "--json").stdout)}
    assert sorted(listed) == names("policies")
    for name, said in listed.items():
        method = load("policies", name).method
        assert (said["when"], said["how"]) == (method.when, method.how)
        assert said["what"] == [*method.what]
        assert said["does"]


def test_the_table_has_a_line_per_policy(run):
    rows = run("policies").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == names("policies")
