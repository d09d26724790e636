package connection_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
)

var (
	org   = record.UUID{0xaa, 1}
	other = record.UUID{0xbb, 2}
	acme  = record.Workspace{ID: "acme01", Name: "Acme", Region: "us", Timezone: "UTC"}
	usual = connection.Settings{Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: 6 * time.Hour}
)

func open(t *testing.T) (*postgres.DB, secret.MasterKey) {
	t.Helper()
	db, err := postgres.Open(t.Context(), pgtest.New(t), postgres.Options{MaxConns: 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db, secret.MasterKey{DataDir: t.TempDir()}
}

func count(t *testing.T, db *postgres.DB, query string) (n int) {
	t.Helper()
	if err := db.Pool().QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func put(t *testing.T, s *connection.Store, org record.UUID, w record.Workspace, token, hook string) {
	t.Helper()
	if err := s.Put(t.Context(), org, w, usual, secret.NewText(token), secret.NewText(hook)); err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionIsKeptWithItsSecretsSealed(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	if _, err := s.Get(t.Context(), org); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("before: %v", err)
	}
	if _, err := s.Token(t.Context(), org); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("token before: %v", err)
	}
	put(t, s, org, acme, "canary-token-0001", "")
	c, err := s.Get(t.Context(), org)
	if err != nil || !c.Connected || !c.IngestEnabled || c.TokenHint != "0001" || c.HasWebhookSecret || c.Workspace != acme || c.ActivityRefresh != 6*time.Hour {
		t.Errorf("got %+v, %v", c, err)
	}
	again := connection.NewStore(db.Pool(), master) // another process
	if token, err := again.Token(t.Context(), org); err != nil || token.Reveal() != "canary-token-0001" {
		t.Errorf("got %q, %v", token.Reveal(), err)
	}
	if n := count(t, db, `SELECT count(*) FROM ingest.connections c WHERE strpos(c.token::text, encode('canary-token-0001', 'hex')) > 0`); n != 0 {
		t.Error("the stored bytes hold the token")
	}

	// The webhook secret is replaced where one is given, and stays where none is; promise 52.
	put(t, s, org, acme, "canary-token-0002", "hook-1")
	first := count(t, db, `SELECT length(webhook_secret) FROM ingest.connections`)
	put(t, s, org, acme, "canary-token-0003", "")
	if c, err = s.Get(t.Context(), org); err != nil || !c.HasWebhookSecret || c.TokenHint != "0003" {
		t.Errorf("got %+v, %v", c, err)
	}
	put(t, s, org, acme, "canary-token-0003", "a much longer hook")
	if second := count(t, db, `SELECT length(webhook_secret) FROM ingest.connections`); second <= first {
		t.Errorf("the webhook secret was not replaced: %d and %d bytes", first, second)
	}

	// Copied to another organisation, a ciphertext does not open.
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0004", "")
	if _, err := db.Pool().Exec(t.Context(), `UPDATE ingest.connections a SET token = b.token FROM ingest.connections b
		WHERE a.workspace_id = 'other1' AND b.workspace_id = 'acme01'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(t.Context(), other); !errors.Is(err, secret.ErrMasterKey) {
		t.Errorf("a token of another organisation opens: %v", err)
	}
}

func TestOneOrganisationHoldsOneWorkspace(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	put(t, s, org, record.Workspace{}, "canary-token-0001", "") // Intercom need not tell whose a token is
	put(t, s, org, acme, "canary-token-0002", "")               // and may tell later
	for name, w := range map[string]record.Workspace{"another": {ID: "zebra2", Name: "Zebra"}, "one that is not named": {}} {
		err := s.Put(t.Context(), org, w, usual, secret.NewText("canary-token-0003"), secret.Text{})
		if !errors.Is(err, connection.ErrOtherWorkspace) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Disconnect(t.Context(), org); err != nil {
		t.Fatal(err)
	}
	// Its rows are still there.
	if err := s.Put(t.Context(), org, record.Workspace{ID: "zebra2"}, usual, secret.NewText("canary-token-0003"), secret.Text{}); !errors.Is(err, connection.ErrOtherWorkspace) {
		t.Errorf("after a disconnect: %v", err)
	}
	put(t, s, org, acme, "canary-token-0004", "")
	if c, err := s.Get(t.Context(), org); err != nil || c.Workspace.ID != "acme01" || c.TokenHint != "0004" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestTheLastDisconnectLetsGoOfTheMasterKey(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	put(t, s, org, acme, "canary-token-0001", "hook")
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0002", "")
	if err := os.Remove(filepath.Join(master.DataDir, "master.key")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), org, acme, usual, secret.NewText("canary-token-0003"), secret.Text{}); !errors.Is(err, secret.ErrMasterKey) {
		t.Errorf("connected without the key: %v", err)
	}
	for i, id := range []record.UUID{org, other} {
		if n := count(t, db, `SELECT count(*) FROM ingest.keysets`); n != 1 {
			t.Errorf("%d key sets while there are secrets", n)
		}
		if had, err := s.Disconnect(t.Context(), id); err != nil || !had {
			t.Errorf("disconnect %d: %v, %v", i, had, err)
		}
		if had, err := s.Disconnect(t.Context(), id); err != nil || had {
			t.Errorf("disconnect %d again: %v, %v", i, had, err)
		}
	}
	if n := count(t, db, `SELECT count(*) FROM ingest.keysets`); n != 0 {
		t.Errorf("%d key sets, and nothing that they seal", n)
	}
	put(t, s, org, acme, "canary-token-0005", "")
	if token, err := s.Token(t.Context(), org); err != nil || token.Reveal() != "canary-token-0005" {
		t.Errorf("got %q, %v", token.Reveal(), err)
	}
}

// Connecting while the last secret of another organisation goes must not leave a token that nothing opens.
func TestConnectingAndDisconnectingAtOnceLosesNoToken(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	for round := range 30 {
		put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-gone", "")
		token := fmt.Sprintf("canary-token-%04d", round)
		var wg sync.WaitGroup
		var putErr, dropErr error
		wg.Go(func() { putErr = s.Put(context.Background(), org, acme, usual, secret.NewText(token), secret.Text{}) })
		wg.Go(func() { _, dropErr = s.Disconnect(context.Background(), other) })
		wg.Wait()
		if putErr != nil || dropErr != nil {
			t.Fatalf("round %d: %v, %v", round, putErr, dropErr)
		}
		if got, err := s.Token(t.Context(), org); err != nil || got.Reveal() != token {
			t.Fatalf("round %d: got %q, %v", round, got.Reveal(), err)
		}
		if _, err := s.Disconnect(t.Context(), org); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyConnectAtOnce(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			s := connection.NewStore(db.Pool(), master) // as if each were a process
			id := record.UUID{0xcc, byte(i)}
			token := fmt.Sprintf("canary-token-%04d", i)
			errs[i] = s.Put(context.Background(), id, record.Workspace{ID: fmt.Sprint("w", i)}, usual, secret.NewText(token), secret.Text{})
			if got, err := s.Token(context.Background(), id); errs[i] == nil && (err != nil || got.Reveal() != token) {
				errs[i] = fmt.Errorf("got %q, %w", got.Reveal(), err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := count(t, db, `SELECT count(*) FROM ingest.keysets`); n != 1 {
		t.Errorf("%d key sets", n)
	}
}

func TestSettingsAreCheckedByName(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set  func(*connection.Settings)
		want string // the setting that is refused
	}{
		"as they are":                    {func(*connection.Settings) {}, ""},
		"europe":                         {func(s *connection.Settings) { s.Region = "eu" }, ""},
		"australia":                      {func(s *connection.Settings) { s.Region = "au" }, ""},
		"no region":                      {func(s *connection.Settings) { s.Region = "" }, "region"},
		"a region in capitals":           {func(s *connection.Settings) { s.Region = "US" }, "region"},
		"a host as the region":           {func(s *connection.Settings) { s.Region = "api.intercom.io" }, "region"},
		"people by their e-mail":         {func(s *connection.Settings) { s.UserIDField = "email" }, ""},
		"people by an attribute":         {func(s *connection.Settings) { s.UserIDField = "custom_attributes.CRM Id" }, ""},
		"people by an unnamed attribute": {func(s *connection.Settings) { s.UserIDField = "custom_attributes. " }, "user_id_field"},
		"people by what companies have":  {func(s *connection.Settings) { s.UserIDField = "company_id" }, "user_id_field"},
		"companies by name":              {func(s *connection.Settings) { s.CompanyIDField = "name" }, ""},
		"companies by e-mail":            {func(s *connection.Settings) { s.CompanyIDField = "email" }, "company_id_field"},
		"read again all the time":        {func(s *connection.Settings) { s.ActivityRefresh = 0 }, "activity_refresh"},
		"read again once in a while":     {func(s *connection.Settings) { s.ActivityRefresh = 720 * time.Hour }, ""},
		"read again next year":           {func(s *connection.Settings) { s.ActivityRefresh = 9000 * time.Hour }, "activity_refresh"},
	} {
		s := usual
		tt.set(&s)
		err := s.Validate()
		var bad *connection.SettingError
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (!errors.As(err, &bad) || bad.Setting != tt.want || !strings.Contains(err.Error(), "want ")):
			t.Errorf("%s: got %v, want one about %s", name, err, tt.want)
		}
	}
}

func TestAConnectionAsJSONHasNoSecretAndTellsSpansAsPeopleDo(t *testing.T) {
	t.Parallel()
	out, err := json.Marshal(connection.Connection{Org: org, ActivityRefresh: 90 * time.Minute, TokenHint: "abcd"})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got["activity_refresh"] != "1h30m0s" || got["webhook_secret_configured"] != false || got["last_synced_at"] != nil {
		t.Errorf("got %s", out)
	}
}
