package onboard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

var (
	org   = record.UUID{0xaa, 1}
	usual = connection.Settings{
		Region: "us", UserIDField: "external_id", CompanyIDField: "company_id", ActivityRefresh: 6 * time.Hour,
	}
)

// place is a database and a desk whose client leads to the workspace.
type place struct {
	db    *postgres.DB
	store *connection.Store
	desk  *onboard.Desk
}

func open(t *testing.T, url string) place {
	t.Helper()
	db, err := postgres.Open(t.Context(), pgtest.New(t), postgres.Options{MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := connection.NewStore(db.Pool(), secret.MasterKey{DataDir: t.TempDir()})
	return place{db, store, onboard.New(onboard.Options{DB: db, Connections: store, Client: func(region string, token secret.Text) (*intercom.Client, error) {
		return intercom.New(region, token.Reveal(), intercom.Options{BaseURL: url, MaxAttempts: 1})
	}})}
}

// rows counts what is stored, all in all.
func (p place) rows(t *testing.T) (n int) {
	t.Helper()
	err := p.db.Pool().QueryRow(t.Context(), `SELECT (SELECT count(*) FROM ingest.connections) + (SELECT count(*) FROM ingest.connection_drafts)
		+ (SELECT count(*) FROM ingest.keysets) + (SELECT count(*) FROM ingest.runs)`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAWorkspaceThatCannotBeConnectedSaysWhyAndStoresNothing(t *testing.T) {
	t.Parallel()
	good := secret.NewText(intercomtest.TestToken)
	all := intercomtest.ScopeRead
	for name, tt := range map[string]struct {
		sim     intercomtest.Options
		token   secret.Text
		region  string
		faults  []intercomtest.Fault
		why     onboard.Reason
		missing []record.Kind
		says    string
	}{
		"a wrong token":          {token: secret.NewText("dG9rOndyb25n"), why: onboard.BadToken, says: "Access Token Invalid"},
		"a revoked token":        {token: good, faults: []intercomtest.Fault{{Kind: intercomtest.FaultTokenRevoked}}, why: onboard.BadToken, says: "token_revoked"},
		"no contacts":            {sim: intercomtest.Options{Scopes: all &^ intercomtest.ScopeContacts}, token: good, why: onboard.MissingScope, missing: []record.Kind{record.KindContact}, says: "may not read contacts;"},
		"no companies":           {sim: intercomtest.Options{Scopes: all &^ intercomtest.ScopeCompanies}, token: good, why: onboard.MissingScope, missing: []record.Kind{record.KindCompany}, says: "may not read companies;"},
		"no conversations":       {sim: intercomtest.Options{Scopes: all &^ intercomtest.ScopeConversations}, token: good, why: onboard.MissingScope, missing: []record.Kind{record.KindConversation}, says: "may not read conversations;"},
		"no tickets":             {sim: intercomtest.Options{Scopes: all &^ intercomtest.ScopeTickets}, token: good, why: onboard.MissingScope, missing: []record.Kind{record.KindTicket}, says: "may not read tickets;"},
		"not even /me":           {sim: intercomtest.Options{Scopes: all &^ intercomtest.ScopeAdmins}, token: good, why: onboard.MissingScope, says: "403"},
		"a token with a quote":   {token: secret.NewText("“dG9rOndyb25n”"), why: onboard.TokenForm, says: "characters that no token has"},
		"another region":         {sim: intercomtest.Options{Region: "EU"}, token: good, why: onboard.WrongRegion, says: "--region eu"},
		"an Intercom in trouble": {token: good, faults: []intercomtest.Fault{{Kind: intercomtest.FaultServerError}}, why: onboard.Unreachable},
		"no Intercom at all":     {token: good, faults: []intercomtest.Fault{{Kind: intercomtest.FaultReset}}, why: onboard.Unreachable, says: "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.sim.Conversations, tt.sim.Faults = 3, tt.faults
			p := open(t, intercomtest.Start(t, tt.sim).URL)
			_, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: usual, Token: tt.token}, func(context.Context, pgx.Tx) error {
				t.Error("what follows was done")
				return nil
			})
			var no *onboard.Refusal
			if !errors.As(err, &no) || no.Why != tt.why || !slices.Equal(no.Missing, tt.missing) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want one because of a %s", err, tt.why)
			}
			if no != nil && tt.why == onboard.WrongRegion && no.Region != "eu" {
				t.Errorf("the region is %q", no.Region)
			}
			if _, _, err := p.desk.Begin(t.Context(), org, "ada", "us", tt.token); !errors.As(err, &no) || no.Why != tt.why {
				t.Errorf("as a draft: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), tt.token.Reveal()) {
				t.Error("the error shows the token")
			}
			if n := p.rows(t); n != 0 {
				t.Errorf("%d rows are stored", n)
			}
		})
	}
}

func TestSettingsThatCannotBeAreNamedBeforeIntercomIsAsked(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(nil)
	srv.Close() // nobody is there
	p := open(t, srv.URL)
	for want, change := range map[string]func(*connection.Settings){
		"region":               func(s *connection.Settings) { s.Region = "mars" },
		"user_id_field":        func(s *connection.Settings) { s.UserIDField = "phone" },
		"company_id_field":     func(s *connection.Settings) { s.CompanyIDField = "email" },
		"activity_refresh":     func(s *connection.Settings) { s.ActivityRefresh = time.Second },
		"webhook_secret_grace": func(s *connection.Settings) { s.WebhookGrace = -1 },
		"token":                func(*connection.Settings) {},
	} {
		set, token := usual, "canary-token-0001"
		change(&set)
		if want == "token" {
			token = " "
		}
		var bad *connection.SettingError
		_, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: set, Token: secret.NewText(token)}, nil)
		if !errors.As(err, &bad) || bad.Setting != want {
			t.Errorf("got %v, want one about %s", err, want)
		}
	}
	if n := p.rows(t); n != 0 {
		t.Errorf("%d rows are stored", n)
	}
}

func TestWhatFollowsIsThereExactlyWhenTheConnectionIs(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: 3})
	p := open(t, sim.URL)
	request := onboard.Request{Org: org, Settings: usual, Token: secret.NewText(sim.Token), Webhook: secret.NewText("canary-hook-0001")}
	no := errors.New("no")
	follow := func(err error) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) error {
			_, eerr := tx.Exec(ctx, `INSERT INTO ingest.runs (org_id, id, kind, spec, state) VALUES ($1, gen_random_uuid(), 'backfill', '{}', 'running')`, org)
			return errors.Join(eerr, err)
		}
	}
	if _, err := p.desk.Connect(t.Context(), request, follow(no)); !errors.Is(err, no) || p.rows(t) != 0 {
		t.Errorf("it failed: %v, and %d rows are stored", err, p.rows(t))
	}
	c, err := p.desk.Connect(t.Context(), request, follow(nil))
	if err != nil || p.rows(t) != 3 || !c.Connected || !c.HasWebhookSecret || c.Workspace.ID != sim.Options().AppID {
		t.Fatalf("got %+v, %v, %d rows", c, err, p.rows(t))
	}
	if token, err := p.store.Token(t.Context(), org); err != nil || token.Reveal() != sim.Token {
		t.Errorf("the token that is stored: %q, %v", token.Reveal(), err)
	}
	// Another workspace is not taken into the same organisation, and what is there stays.
	other := intercomtest.Start(t, intercomtest.Options{Seed: 99, Conversations: 3})
	desk := onboard.New(onboard.Options{DB: p.db, Connections: p.store, Client: func(region string, token secret.Text) (*intercom.Client, error) {
		return intercom.New(region, token.Reveal(), intercom.Options{BaseURL: other.URL})
	}})
	var refusal *onboard.Refusal
	if _, err := desk.Connect(t.Context(), request, follow(nil)); !errors.As(err, &refusal) || refusal.Why != onboard.OtherWorkspace || !errors.Is(err, connection.ErrOtherWorkspace) {
		t.Errorf("another workspace: %v", err)
	}
	if n := p.rows(t); n != 3 {
		t.Errorf("%d rows are stored", n)
	}
	if v := sim.Stats().Violations; len(v) > 0 {
		t.Errorf("Intercom was asked to write: %v", v)
	}
}

func TestADraftWaitsForItsChoicesAndIsUsedOnce(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: 3, Region: "AU"})
	p := open(t, sim.URL)
	token := secret.NewText(sim.Token)
	draft, access, err := p.desk.Begin(t.Context(), org, "ada", "au", token)
	if err != nil || draft.Region != "au" || access.Workspace.ID != sim.Options().AppID {
		t.Fatal(draft, access, err)
	}
	if _, err := p.store.Get(t.Context(), org); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("it is connected already: %v", err)
	}
	set := usual
	set.Region, set.UserIDField = "", "email" // the region is the draft's
	if _, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: set, User: "bob"}, nil); !errors.Is(err, connection.ErrNoDraft) {
		t.Errorf("somebody else's draft: %v", err)
	}
	no := errors.New("no")
	if _, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: set, User: "ada"}, func(context.Context, pgx.Tx) error { return no }); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	c, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: set, User: "ada"}, nil) // it is still there
	if err != nil || c.Region != "au" || c.UserIDField != "email" {
		t.Fatalf("got %+v, %v", c, err)
	}
	if _, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: set, User: "ada"}, nil); !errors.Is(err, connection.ErrNoDraft) {
		t.Errorf("used again: %v", err)
	}
	if stored, err := p.store.Token(t.Context(), org); err != nil || stored.Reveal() != sim.Token {
		t.Errorf("the token that is stored: %q, %v", stored.Reveal(), err)
	}
}

func TestAPreviewShowsWhatEachChoiceGives(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: 3, Contacts: -1, Companies: -1, Tickets: -1, Oddities: -1})
	p := open(t, sim.URL)
	var firms []string
	for _, name := range []string{"Acme", "Globex"} {
		id, err := sim.CreateCompany(map[string]any{"name": name, "company_id": strings.ToLower(name), "custom_attributes.account": len(firms)})
		if err != nil {
			t.Fatal(err)
		}
		firms = append(firms, id)
	}
	for i, fields := range []map[string]any{
		{"name": "Ada", "email": "Ada@example.com", "external_id": "u-1", "custom_attributes.crm": "C-1", "custom_attributes.plan": "free", "companies": firms[:1]},
		{"name": "Bob", "email": "bob@example.com", "external_id": "u-2", "custom_attributes.plan": "free", "companies": firms},
		{"name": "", "email": "", "custom_attributes.plan": "paid", "custom_attributes.beta": true},
		{"name": "<b>Eve</b>", "email": "bob@example.com", "external_id": "u-4"},
	} {
		fields["role"] = "user"
		if _, err := sim.CreateContact(fields); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, _, err := p.desk.Begin(t.Context(), org, "ada", "us", secret.NewText(sim.Token)); err != nil {
		t.Fatal(err)
	}
	before := sim.Stats().Requests
	got, err := p.desk.Preview(t.Context(), onboard.PreviewRequest{Org: org, User: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	if n := sim.Stats().Requests - before; n > 12 {
		t.Errorf("it took %d requests", n)
	}
	// By name, whatever the order in which Intercom lists them.
	by := func(c onboard.Choices) map[string]map[string]string {
		m := map[string]map[string]string{}
		for _, choice := range c.List {
			m[choice.Field] = map[string]string{"(empty)": fmt.Sprint(choice.Empty), "(shared)": fmt.Sprint(choice.Shared)}
			for i, v := range choice.Values {
				name := c.Names[i]
				if strings.HasPrefix(name, "contact ") {
					name = "nobody"
				}
				if choice.Field != "id" {
					m[choice.Field][name] = v
				} else if len(v) == 0 {
					t.Error("an id is empty")
				}
			}
		}
		return m
	}
	want := map[string]map[string]string{
		"external_id":            {"Ada": "u-1", "Bob": "u-2", "<b>Eve</b>": "u-4", "nobody": "", "(empty)": "1", "(shared)": "0"},
		"id":                     {"(empty)": "0", "(shared)": "0"},
		"email":                  {"Ada": "ada@example.com", "Bob": "bob@example.com", "<b>Eve</b>": "bob@example.com", "nobody": "", "(empty)": "1", "(shared)": "2"},
		"custom_attributes.plan": {"Ada": "free", "Bob": "free", "<b>Eve</b>": "", "nobody": "paid", "(empty)": "1", "(shared)": "2"},
		"custom_attributes.crm":  {"Ada": "C-1", "Bob": "", "<b>Eve</b>": "", "nobody": "", "(empty)": "3", "(shared)": "0"},
	}
	if diff := cmp.Diff(want, by(got.Users)); diff != "" {
		t.Errorf("contacts (-want +got):\n%s", diff)
	}
	want = map[string]map[string]string{
		"company_id":                {"Acme": "acme", "Globex": "globex", "(empty)": "0", "(shared)": "0"},
		"id":                        {"(empty)": "0", "(shared)": "0"},
		"name":                      {"Acme": "Acme", "Globex": "Globex", "(empty)": "0", "(shared)": "0"},
		"custom_attributes.account": {"Acme": "0", "Globex": "1", "(empty)": "0", "(shared)": "0"},
	}
	if diff := cmp.Diff(want, by(got.Companies)); diff != "" {
		t.Errorf("companies (-want +got):\n%s", diff)
	}
	var order []string
	for _, choice := range got.Users.List {
		order = append(order, choice.Field)
	}
	if want := []string{"external_id", "id", "email", "custom_attributes.plan", "custom_attributes.crm"}; !slices.Equal(order, want) {
		t.Errorf("offered are %v, want %v", order, want)
	}
	if got.Users.Present != "" || got.Users.Default != "external_id" || got.Users.Sampled != 4 || got.Companies.Sampled != 2 {
		t.Errorf("got %+v", got)
	}
	// Connected, it works with the stored token as well, and knows what is chosen.
	if _, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: usual, User: "ada"}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := p.desk.Preview(t.Context(), onboard.PreviewRequest{Org: org}); err != nil || got.Users.Present != "external_id" || len(got.Users.List) != 5 {
		t.Errorf("connected: %+v, %v", got, err)
	}
	if _, err := p.desk.Preview(t.Context(), onboard.PreviewRequest{Org: org, User: "ada"}); !errors.Is(err, connection.ErrNoDraft) {
		t.Errorf("of a draft that was used: %v", err)
	}
	if v := sim.Stats().Violations; len(v) > 0 {
		t.Errorf("Intercom was asked to write: %v", v)
	}
}

func TestAnEmptyWorkspaceHasAPreviewThatSaysSo(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: -1, Contacts: -1, Companies: -1, Tickets: -1})
	p := open(t, sim.URL)
	if _, err := p.desk.Connect(t.Context(), onboard.Request{Org: org, Settings: usual, Token: secret.NewText(sim.Token)}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := p.desk.Preview(t.Context(), onboard.PreviewRequest{Org: org})
	if err != nil || len(got.Users.List) != 3 || got.Users.Missing == "" || got.Companies.Missing == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := p.desk.Preview(t.Context(), onboard.PreviewRequest{Org: record.UUID{0xbb}}); !errors.Is(err, connection.ErrNotConnected) {
		t.Errorf("of nobody: %v", err)
	}
}
