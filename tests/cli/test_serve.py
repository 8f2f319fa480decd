import sys


def test_serve_without_its_extra_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for module in ("polyroute.cli.serve", "polyroute.gateway.serve"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    result = run("serve")
    assert result.exit_code == 2
    assert "pip install 'polyroute[serve]'" in result.stderr
    for module in ("polyroute.cli.serve", "polyroute.gateway.serve"):
        sys.modules.pop(module, None)


def test_serve_hands_over_the_configuration_and_where_to_listen(run, monkeypatch):
    import polyroute.cli.serve

    heard = []
    monkeypatch.setattr(
        polyroute.cli.serve, "listen", lambda settings, **where: heard.append((settings, where))
    )
    assert run("serve", "--host", "::1", "--port", "0", "--workers", "2").exit_code == 0
    ((settings, where),) = heard
    assert [card.id for card in settings.pool] == ["a", "b"]
    assert where.pop("file").name == "polyroute.yaml"
    assert where == {"host": "::1", "port": 0, "workers": 2}


def test_serve_refuses_to_be_reached_by_others_without_keys(run):
    result = run("serve", "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "keys" in result.stderr
