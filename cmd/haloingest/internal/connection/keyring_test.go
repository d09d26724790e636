package connection_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sources/webhook"
)

func keysOf(t *testing.T, k *connection.Keyring, org record.UUID) webhook.Keys {
	t.Helper()
	keys, err := k.Keys(t.Context(), org, true)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func secrets(list ...string) (out [][]byte) {
	for _, s := range list {
		out = append(out, []byte(s))
	}
	return out
}

func TestAReplacedWebhookSecretSignsForItsGraceAndNotLonger(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	ring := func() *connection.Keyring { return connection.NewKeyring(s, slog.New(slog.DiscardHandler)) }
	replace := func(hook string, grace time.Duration) {
		t.Helper()
		set := usual
		set.WebhookGrace = grace
		if err := s.Put(t.Context(), org, acme, set, secret.NewText("canary-token-0001"), secret.NewText(hook)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(why string, list ...string) {
		t.Helper()
		if diff := cmp.Diff(webhook.Keys{Secrets: secrets(list...), Workspace: acme.ID}, keysOf(t, ring(), org)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", why, diff)
		}
	}
	replace("", 0)
	if keys := keysOf(t, ring(), org); len(keys.Secrets) != 0 {
		t.Errorf("without a secret: %d", len(keys.Secrets))
	}
	replace("hook-1", time.Hour)
	want("the first", "hook-1")
	replace("hook-2", time.Hour)
	want("replaced with a grace", "hook-2", "hook-1")
	replace("", 0)
	want("connected again without one", "hook-2", "hook-1")
	replace("hook-2", 0)
	want("the same again", "hook-2", "hook-1")
	if n := count(t, db, `SELECT count(*) FROM ingest.connections c WHERE strpos(c.webhook_secret_previous::text, encode('hook-1', 'hex')) > 0`); n != 0 {
		t.Error("the stored bytes hold the secret")
	}
	// A ciphertext moved to the other column does not open.
	if _, err := db.Pool().Exec(t.Context(), `UPDATE ingest.connections SET webhook_secret = webhook_secret_previous`); err != nil {
		t.Fatal(err)
	}
	if keys := keysOf(t, ring(), org); len(keys.Secrets) != 0 {
		t.Errorf("a moved ciphertext opens: %d secrets", len(keys.Secrets))
	}
	replace("hook-3", 0)
	want("replaced at once", "hook-3")
	replace("hook-4", time.Hour)
	if _, err := db.Pool().Exec(t.Context(), `UPDATE ingest.connections SET webhook_secret_previous_until = now() - interval '1 second'`); err != nil {
		t.Fatal(err)
	}
	want("after the grace", "hook-4")

	known := ring()
	if diff := cmp.Diff(webhook.Keys{}, keysOf(t, known, other)); diff != "" {
		t.Errorf("another organisation has keys:\n%s", diff)
	}
	if _, err := db.Pool().Exec(t.Context(), `UPDATE ingest.connections SET ingest_enabled = false`); err != nil {
		t.Fatal(err)
	}
	if !keysOf(t, ring(), org).Off {
		t.Error("ingest is off and the keys do not say so")
	}
	if _, err := s.Disconnect(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `SELECT num_nonnulls(webhook_secret, webhook_secret_previous) FROM ingest.connections`); n != 0 {
		t.Errorf("%d secrets are left after a disconnect", n)
	}
	if keys := keysOf(t, ring(), org); len(keys.Secrets) != 0 {
		t.Error("a disconnected organisation has secrets")
	}
}

func TestWhatWasKnownHoldsWhileTheDatabaseIsGone(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	put(t, s, org, acme, "canary-token-0001", "hook-1")
	k := connection.NewKeyring(s, slog.New(slog.DiscardHandler))
	keysOf(t, k, org)
	db.Close()
	time.Sleep(300 * time.Millisecond) // longer than a keyring waits before it reads again
	if diff := cmp.Diff(secrets("hook-1"), keysOf(t, k, org).Secrets); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := connection.NewKeyring(s, slog.New(slog.DiscardHandler)).Keys(t.Context(), org, false); err == nil {
		t.Error("a keyring that knows nothing answers without a database")
	}
}
