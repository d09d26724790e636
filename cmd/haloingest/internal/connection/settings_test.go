package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/webhook"
)

func sql(t *testing.T, db *postgres.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Pool().Exec(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func poolOf(t *testing.T, cfg *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func get(t *testing.T, s *connection.Store) connection.Connection {
	t.Helper()
	c, err := s.Get(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIngestIsTurnedOffAndOn(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	if _, err := s.SetIngest(t.Context(), org, true); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("before it is connected: %v", err)
	}
	put(t, s, org, acme, "canary-token-0001", "hook-1")
	ring := connection.NewKeyring(s, slog.New(slog.DiscardHandler))
	for _, step := range []struct{ on, changed bool }{{true, false}, {false, true}, {false, false}, {true, true}} {
		changed, err := s.SetIngest(t.Context(), org, step.on)
		if err != nil || changed != step.changed || get(t, s).IngestEnabled != step.on {
			t.Errorf("set to %v: changed %v, %v", step.on, changed, err)
		}
		time.Sleep(300 * time.Millisecond) // a keyring does not look more often
		if keys := keysOf(t, ring, org); keys.Off == step.on {
			t.Errorf("set to %v: the keyring says off %v", step.on, keys.Off)
		}
	}
	if _, err := s.Disconnect(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetIngest(t.Context(), org, true); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("after a disconnect: %v", err)
	}
}

func TestAWebhookSecretIsSetAndReplacedWithoutTheToken(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	set := func(hook string, grace time.Duration) error {
		return s.SetWebhookSecret(t.Context(), org, secret.NewText(hook), grace)
	}
	if err := set("hook-1", 0); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("before it is connected: %v", err)
	}
	put(t, s, org, acme, "canary-token-0001", "")
	want := func(why string, list ...string) {
		t.Helper()
		keys := keysOf(t, connection.NewKeyring(s, slog.New(slog.DiscardHandler)), org)
		if diff := cmp.Diff(webhook.Keys{Secrets: secrets(list...), Workspace: acme.ID}, keys); diff != "" {
			t.Errorf("%s (-want +got):\n%s", why, diff)
		}
		if token, err := s.Token(t.Context(), org); err != nil || token.Reveal() != "canary-token-0001" {
			t.Errorf("%s: the token is %v, %v", why, token.Reveal(), err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(set("hook-1", time.Hour))
	want("the first", "hook-1")
	must(set("hook-2", time.Hour))
	want("replaced with a grace", "hook-2", "hook-1")
	must(set("hook-2", 0))
	want("the same again", "hook-2", "hook-1")
	must(set("hook-3", 0))
	want("replaced at once", "hook-3")
	for why, err := range map[string]error{"webhook_secret": set(" ", 0), "webhook_secret_grace": set("hook-4", 8*24*time.Hour)} {
		var bad *connection.SettingError
		if !errors.As(err, &bad) || bad.Setting != why {
			t.Errorf("got %v, want one about %s", err, why)
		}
	}
	want("refused", "hook-3")
	if n := count(t, db, `SELECT count(*) FROM ingest.connections c WHERE strpos(to_jsonb(c)::text, encode('hook-3', 'hex')) > 0`); n != 0 {
		t.Error("the stored bytes hold the secret")
	}
}

func TestSettingsChangeOneByOneAndTellWhatTheyAskFor(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	configure := func(set connection.Settings) connection.Change {
		t.Helper()
		change, err := s.Configure(t.Context(), org, set)
		if err != nil {
			t.Fatal(err)
		}
		return change
	}
	if _, err := s.Configure(t.Context(), org, connection.Settings{ActivityRefresh: time.Hour}); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("before it is connected: %v", err)
	}
	put(t, s, org, acme, "canary-token-0001", "")
	if got := configure(connection.Settings{UserIDField: "id"}); got != (connection.Change{Changed: true}) {
		t.Errorf("before anything was read: %+v", got)
	}
	run := func(kind, spec, user string) {
		sql(t, db, `INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at) VALUES ($1, gen_random_uuid(), $2,
			$3::jsonb || jsonb_build_object('params', jsonb_build_object('user_id_field', $4::text, 'company_id_field', 'company_id')), 'complete', clock_timestamp())`,
			org, kind, spec, user)
	}
	run("backfill", `{}`, "id")
	walked := get(t, s).WalkedAt
	if walked.IsZero() || get(t, s).FullReadDue {
		t.Fatalf("after a backfill: %+v", get(t, s))
	}
	for _, step := range []struct {
		name string
		set  connection.Settings
		want connection.Change
	}{
		{"nothing", connection.Settings{}, connection.Change{}},
		{"as it is", connection.Settings{UserIDField: "id", ActivityRefresh: 6 * time.Hour}, connection.Change{}},
		{"a span", connection.Settings{ActivityRefresh: time.Hour}, connection.Change{Changed: true}},
		{"another field", connection.Settings{UserIDField: "email"}, connection.Change{Changed: true, FullRead: true}},
		{"a span after it", connection.Settings{ActivityRefresh: 2 * time.Hour}, connection.Change{Changed: true, FullRead: true}},
		{"the field that was read", connection.Settings{UserIDField: "id"}, connection.Change{Changed: true}},
		{"companies", connection.Settings{CompanyIDField: "name"}, connection.Change{Changed: true, FullRead: true}},
		{"the company's as it was", connection.Settings{CompanyIDField: "company_id"}, connection.Change{Changed: true}},
	} {
		if got := configure(step.set); got != step.want {
			t.Errorf("%s: %+v, want %+v", step.name, got, step.want)
		}
	}
	// A sync with other fields mixes both, and neither a part nor a sync makes up for it.
	run("sync", `{"since": "2026-01-01T00:00:00Z"}`, "email")
	run("backfill", `{"only": ["contacts"]}`, "id")
	run("backfill", `{"sample": 5}`, "id")
	run("sync", `{"since": "2026-01-01T00:00:00Z"}`, "id")
	if c := get(t, s); !c.FullReadDue || !c.WalkedAt.Equal(walked) {
		t.Errorf("after a sync with other fields: %+v", c)
	}
	run("backfill", `{}`, "id")
	if c := get(t, s); c.FullReadDue || !c.WalkedAt.After(walked) {
		t.Errorf("after another backfill: %+v", c)
	}
	for want, set := range map[string]connection.Settings{
		"region": {Region: "eu"}, "user_id_field": {UserIDField: "phone"}, "company_id_field": {CompanyIDField: "email"},
		"activity_refresh": {ActivityRefresh: 59 * time.Second},
	} {
		var bad *connection.SettingError
		if _, err := s.Configure(t.Context(), org, set); !errors.As(err, &bad) || bad.Setting != want {
			t.Errorf("got %v, want one about %s", err, want)
		}
	}
	if c := get(t, s); c.ActivityRefresh != 2*time.Hour || c.UserIDField != "id" || c.CompanyIDField != "company_id" {
		t.Errorf("what was refused is there: %+v", c)
	}
}

// TestAShorterRefreshIsDueMoreOften walks through a month minute by minute, as a scheduler would.
func TestAShorterRefreshIsDueMoreOften(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	times := func(every time.Duration) (n int) {
		c := connection.Connection{Connected: true, IngestEnabled: true, SyncedTo: began, RefreshedAt: began, ActivityRefresh: every}
		for now := began; now.Before(began.Add(30 * 24 * time.Hour)); now = now.Add(time.Minute) {
			if c.RefreshDue(now) {
				n++
				c.RefreshedAt = now
			}
		}
		return n
	}
	for every, want := range map[time.Duration]int{time.Minute: 43199, time.Hour: 719, 6 * time.Hour: 119, 24 * time.Hour: 29, 30 * 24 * time.Hour: 0} {
		if n := times(every); n != want {
			t.Errorf("every %s: %d times in a month, want %d", every, n, want)
		}
	}
}

func TestAllConnectionsAreListed(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0002", "")
	put(t, s, org, acme, "canary-token-0001", "hook-1")
	if _, err := s.Disconnect(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Org != org || !list[0].Working() || list[1].Org != other || list[1].Working() {
		t.Fatalf("got %+v, %v", list, err)
	}
	if diff := cmp.Diff(get(t, s), list[0]); diff != "" {
		t.Errorf("one alone and in a list (-one +list):\n%s", diff)
	}
}

func TestADraftIsUsedOnceByItsOwnPersonAndNotForLong(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	keep := func(org record.UUID, user, token string) {
		t.Helper()
		if _, err := s.PutDraft(t.Context(), org, user, "eu", secret.NewText(token)); err != nil {
			t.Fatal(err)
		}
	}
	token := func(org record.UUID, user, want string) {
		t.Helper()
		got, err := s.DraftToken(t.Context(), org, user)
		if want == "" && !errors.Is(err, connection.ErrNoDraft) || want != "" && (err != nil || got.Reveal() != want) {
			t.Errorf("%s of %s: %q, %v, want %q", user, org, got.Reveal(), err, want)
		}
	}
	token(org, "ada", "")
	keep(org, "ada", "canary-token-0001")
	keep(org, "ada", "canary-token-0002") // another try
	keep(org, "bob", "canary-token-0003")
	keep(other, "ada", "canary-token-0004")
	token(org, "ada", "canary-token-0002")
	token(org, "bob", "canary-token-0003")
	token(other, "bob", "")
	if d, err := s.Draft(t.Context(), org, "ada"); err != nil || d.Region != "eu" || d.ExpiresAt.Sub(time.Now()) > connection.DraftLast {
		t.Errorf("got %+v, %v", d, err)
	}
	// Moved to another person or organisation, it does not open.
	sql(t, db, `UPDATE ingest.connection_drafts a SET token = b.token FROM ingest.connection_drafts b WHERE a.user_name = 'bob' AND b.user_name = 'ada' AND b.org_id = a.org_id`)
	if _, err := s.DraftToken(t.Context(), org, "bob"); !errors.Is(err, secret.ErrMasterKey) {
		t.Errorf("a token of somebody else opens: %v", err)
	}
	// Of many that use it at once, one does.
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			tx, err := db.Pool().Begin(context.Background())
			if err != nil {
				errs[i] = err
				return
			}
			if errs[i] = s.TakeDraft(context.Background(), tx, org, "ada"); errs[i] == nil {
				errs[i] = tx.Commit(context.Background())
			}
			_ = tx.Rollback(context.Background())
		})
	}
	wg.Wait()
	taken := 0
	for _, err := range errs {
		switch {
		case err == nil:
			taken++
		case !errors.Is(err, connection.ErrNoDraft):
			t.Error(err)
		}
	}
	if taken != 1 {
		t.Errorf("it was used %d times", taken)
	}
	token(org, "ada", "")
	// What has expired is not there, and is swept; the key set goes with the last secret.
	sql(t, db, `UPDATE ingest.connection_drafts SET expires_at = now()`)
	token(other, "ada", "")
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `SELECT (SELECT count(*) FROM ingest.connection_drafts) + (SELECT count(*) FROM ingest.keysets)`); n != 0 {
		t.Errorf("%d drafts and key sets are left", n)
	}
	// A key set stays while a draft needs it, and a disconnect drops the organisation's drafts.
	put(t, s, org, acme, "canary-token-0005", "")
	keep(org, "ada", "canary-token-0006")
	keep(other, "ada", "canary-token-0007")
	if _, err := s.Disconnect(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	token(org, "ada", "")
	token(other, "ada", "canary-token-0007")
	if err := s.DropDraft(t.Context(), other, "ada"); err != nil {
		t.Fatal(err)
	}
	token(other, "ada", "")
}

// Who sees one organisation only must not take the key set that the others need.
func TestAScopedDisconnectLeavesTheKeySetAlone(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	put(t, s, org, acme, "canary-token-0001", "")
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0002", "")
	role := fmt.Sprintf("scoped_%d", time.Now().UnixNano())
	for _, line := range []string{
		`ALTER TABLE ingest.connections ENABLE ROW LEVEL SECURITY`,
		`CREATE POLICY one ON ingest.connections USING (org_id = '` + org.String() + `')`,
		`CREATE ROLE ` + role,
		`GRANT USAGE ON SCHEMA ingest TO ` + role,
		`GRANT SELECT, UPDATE, DELETE, INSERT ON ALL TABLES IN SCHEMA ingest TO ` + role,
	} {
		sql(t, db, line)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := db.Pool().Exec(ctx, `DROP OWNED BY `+role+`; DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	cfg := db.Pool().Config()
	cfg.ConnConfig.RuntimeParams["role"] = role
	scoped := poolOf(t, cfg)
	if had, err := connection.NewStore(scoped, master).Disconnect(t.Context(), org); err != nil || !had {
		t.Fatal(had, err)
	}
	if token, err := s.Token(t.Context(), other); err != nil || token.Reveal() != "canary-token-0002" {
		t.Errorf("the other organisation's token: %q, %v", token.Reveal(), err)
	}
}
