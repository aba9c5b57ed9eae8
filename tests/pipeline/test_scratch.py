from degflow_pipe.store import Store
def test_x(store, photo_folder):
    s = Store.open(store)
    for u, r in s.records():
        print(u, len(r.patches), r.finished, [round(p.detail,1) for p in r.patches])
    print(s.grids())
    assert 0
