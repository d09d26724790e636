package access

import (
	"testing"
	"time"

	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// A request that had a session in hand when it was ended does not bring it back.
func TestASessionThatWasEndedIsNotWrittenBack(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), pgtest.New(t), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	g, err := New(t.Context(), Options{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := g.sessions.Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	g.sessions.Put(ctx, keyNotice, "hello")
	token, _, err := g.sessions.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := g.sessions.Load(t.Context(), token)
	if err != nil || g.sessions.GetString(mine, keyNotice) != "hello" {
		t.Fatalf("the session has %q, %v", g.sessions.GetString(mine, keyNotice), err)
	}
	other, err := g.sessions.Load(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.sessions.Destroy(other); err != nil {
		t.Fatal(err)
	}
	g.sessions.Put(mine, keyNotice, "changed")
	if _, _, err := g.sessions.Commit(mine); err != nil {
		t.Fatal(err)
	}
	again, err := g.sessions.Load(t.Context(), token)
	if err != nil || len(g.sessions.Keys(again)) > 0 {
		t.Errorf("the session is back: %v, %v", g.sessions.Keys(again), err)
	}
	// What may not be there any more is not read either.
	if _, found, err := g.store.FindCtx(t.Context(), token); found || err != nil {
		t.Errorf("%t, %v", found, err)
	}
	if d := g.store.idle; d != 12*time.Hour {
		t.Errorf("a session that is not used lasts %s", d)
	}
}
