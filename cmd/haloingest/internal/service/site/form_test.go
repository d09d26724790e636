package site

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
)

// visitor is a browser without a script.
type visitor struct {
	l      *lab
	url    string
	client *http.Client
	seen   strings.Builder // every page
}

func (l *lab) visit(who access.Identity) *visitor {
	jar, _ := cookiejar.New(nil)
	return &visitor{l: l, url: l.serve(who), client: &http.Client{Jar: jar}}
}

// got is a page, after all redirects.
type got struct {
	status int
	at     string // path and query
	body   string
}

func (v *visitor) answer(resp *http.Response, err error) got {
	v.l.tb.Helper()
	v.l.must(err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	v.l.must(err)
	v.seen.Write(body)
	return got{resp.StatusCode, resp.Request.URL.RequestURI(), string(body)}
}

func (v *visitor) get(path string) got {
	v.l.tb.Helper()
	return v.answer(v.client.Get(v.url + path))
}

func (v *visitor) post(path string, form ...string) got {
	v.l.tb.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	return v.answer(v.client.PostForm(v.url+path, values))
}

func (g got) want(t *testing.T, status int, parts ...string) {
	t.Helper()
	if g.status != status {
		t.Errorf("%s: status %d, want %d:\n%s", g.at, g.status, status, g.body)
	}
	for _, p := range parts {
		if !strings.Contains(g.body, p) {
			t.Errorf("%s: %q is not in\n%s", g.at, p, g.body)
		}
	}
}

// jobs counts what waits for an organisation.
func (l *lab) jobs(org record.UUID, kind string) int {
	l.tb.Helper()
	return scalar[int](l, `SELECT count(*) FROM ingest.river_job WHERE args->>'org' = $1 AND kind = $2`, org.String(), kind)
}

func TestATokenThatIsRefusedLeavesEverythingButItselfInTheForm(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.sims["us"] = intercomtest.Start(t, intercomtest.Options{Conversations: 10, Region: "EU"})
	l.sims["eu"] = intercomtest.Start(t, intercomtest.Options{Conversations: 10, Region: "EU", Scopes: intercomtest.ScopeAdmins | intercomtest.ScopeContacts | intercomtest.ScopeConversations})
	blind := intercomtest.Start(t, intercomtest.Options{Conversations: 10, Region: "EU", Scopes: intercomtest.ScopeRead &^ intercomtest.ScopeAdmins})
	l.sims["au"] = intercomtest.Start(t, intercomtest.Options{Conversations: 10, Region: "AU", Faults: []intercomtest.Fault{{Kind: intercomtest.FaultServerError, Status: 503, Rate: 1}}})
	v := l.visit(member(access.Admin))
	at := orgURL(orgN(1).String()) + "/connect"
	checked := func(region string) string { return fmt.Sprintf(`value="%s" required checked`, region) }

	v.post(at, "region", "eu", "token", "canary-token-none").want(t, 200, "Intercom does not take this token", checked("eu"), `aria-invalid="true"`)
	v.post(at, "region", "eu", "token", intercomtest.TestToken).want(t, 200, "may not read companies and tickets", checked("eu"))
	v.post(at, "region", "us", "token", intercomtest.TestToken).want(t, 200, "This workspace is kept in Europe", checked("eu"))
	v.post(at, "region", "au", "token", intercomtest.TestToken).want(t, 200, "Intercom does not answer", checked("au"))
	v.post(at, "region", "mars", "token", intercomtest.TestToken).want(t, 200, "Choose the region")
	for _, token := range []string{"canary-token none", "canary-token\r\nnone", "canary-token-nöne", "“canary-token-none”", "canary-token\x00none"} {
		v.post(at, "region", "eu", "token", token).want(t, 200, "This cannot be an access token", checked("eu"), `aria-invalid="true"`)
	}
	v.post(at, "region", "eu", "token", "Bearer canary-token-none").want(t, 200, "Leave out the word “Bearer”", checked("eu"))
	v.post(at, "region", "us", "token", "  ").want(t, 200, "The access token is missing", checked("us"))
	l.sims["eu"] = blind // what it may not read is not told: Intercom does not even say whose the token is
	v.post(at, "region", "eu", "token", intercomtest.TestToken).want(t, 200, "has not every permission to read", "Developer Hub", checked("eu"))
	if strings.Contains(v.seen.String(), intercomtest.TestToken) || strings.Contains(v.seen.String(), "canary-token-none") {
		t.Error("a page shows a token")
	}
	for _, a := range l.audits {
		if strings.Contains(a, intercomtest.TestToken) || strings.Contains(a, "canary-token-none") {
			t.Errorf("the audit log has a token: %s", a)
		}
	}
	if n := scalar[int](l, `SELECT (SELECT count(*) FROM ingest.connections) + (SELECT count(*) FROM ingest.connection_drafts)`); n != 0 {
		t.Errorf("%d things were stored", n)
	}
	if n := l.jobs(orgN(1), work.KindBackfill); n != 0 {
		t.Errorf("%d backfills were queued", n)
	}
}

func TestAWorkspaceIsConnectedByFormsAloneAndOneBackfillIsQueued(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 2, Conversations: 40, AppName: "Acme <b>Support</b>"})
	l.sims["us"] = sim
	v := l.visit(member(access.Admin))
	base := orgURL(orgN(1).String())

	v.get(base).want(t, 200, "Connect Intercom", `type="password"`)
	page := v.post(base+"/connect", "region", "us", "token", "  "+sim.Token+"\n")
	page.want(t, 200, "The token works", "Acme &lt;b&gt;Support&lt;/b&gt;", `name="user_id_field" value="email"`, `name="company_id_field" value="company_id" checked`)
	if page.at != base+"/connect/fields" {
		t.Errorf("it led to %s", page.at)
	}
	v.post(base+"/connect/fields", "user_id_field", "other", "company_id_field", "company_id").want(t, 200, "choose a field, or give the name")
	if n := l.jobs(orgN(1), work.KindBackfill); n != 0 {
		t.Fatalf("%d backfills before it is connected", n)
	}
	page = v.post(base+"/connect/fields", "user_id_field", "other", "user_id_field_other", "crm_id", "company_id_field", "id")
	page.want(t, 200, "Connected. Reading the history has been queued", "About to begin reading the history")
	if page.at != base+"?said=connected" {
		t.Errorf("it led to %s", page.at)
	}
	// To reload the page that a form led to, or to send the form twice, does nothing more.
	v.get(base+"?said=connected").want(t, 200)
	if page = v.post(base+"/connect/fields", "user_id_field", "email", "company_id_field", "id"); page.at != base+"?said=connected" {
		t.Errorf("the form sent twice leads to %s", page.at)
	}
	if n := l.jobs(orgN(1), work.KindBackfill); n != 1 {
		t.Errorf("%d backfills are queued", n)
	}
	l.exec(`UPDATE ingest.connections SET connected_at = now() - interval '1 hour'`)
	v.post(base+"/connect/fields", "user_id_field", "email", "company_id_field", "id").want(t, 200, "is not kept any more")
	c, err := l.store.Get(context.Background(), orgN(1))
	l.must(err)
	if c.UserIDField != "custom_attributes.crm_id" || c.CompanyIDField != "id" || !c.Connected || c.Workspace.Name != "Acme <b>Support</b>" {
		t.Errorf("stored: %+v", c)
	}
	token, err := l.store.Token(context.Background(), orgN(1))
	l.must(err)
	if token.Reveal() != sim.Token {
		t.Error("another token is stored")
	}
	if strings.Contains(v.seen.String(), sim.Token) {
		t.Error("a page shows the token")
	}
	if all := strings.Join(l.audits, "\n"); !strings.Contains(all, "check token") || !strings.Contains(all, "connect map[company_id_field:id user_id_field:custom_attributes.crm_id]") {
		t.Errorf("audited: %s", all)
	}
}

func TestAFormThatIsSentManyTimesAtOnceConnectsOnceAndEverySendingIsToldSo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 2, Conversations: 10})
	l.sims["us"] = sim
	v := l.visit(member(access.Admin))
	base := orgURL(orgN(1).String())
	v.post(base+"/connect", "region", "us", "token", sim.Token).want(t, 200, "The token works")
	led := make(chan string, 6)
	for range cap(led) {
		go func() {
			resp, err := v.client.PostForm(v.url+base+"/connect/fields", url.Values{"user_id_field": {"email"}, "company_id_field": {"id"}})
			if err != nil {
				led <- err.Error()
				return
			}
			_ = resp.Body.Close()
			led <- resp.Request.URL.RequestURI()
		}()
	}
	for range cap(led) {
		if at := <-led; at != base+"?said=connected" && at != base+"?said=reconnected" {
			t.Errorf("it led to %s", at)
		}
	}
	if n := l.jobs(orgN(1), work.KindBackfill); n != 1 {
		t.Errorf("%d backfills are queued", n)
	}
}

// A token that is pasted into the wrong field would stay in the browser's history and in the logs of proxies.
func TestWhatIsTypedAsAnOrganisationsIDIsNeverInAnAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	v := l.visit(overseer)
	var hops []string
	v.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		hops = append(hops, r.URL.String())
		return nil
	}
	page := v.post("/organisations", "org", "canary-token-<b>")
	page.want(t, 422, "That is no organisation&#39;s id", `value=""`, `aria-invalid="true"`)
	if page.at != "/organisations" || len(hops) > 0 {
		t.Errorf("it led to %s by %q", page.at, hops)
	}
	v.post("/organisations", "org", strings.Repeat("0", 36)).want(t, 422, "no organisation", `value="`+strings.Repeat("0", 36)+`"`)
	v.post("/organisations", "org", "6F1B2A34-5c6d-4e7f-8a9b").want(t, 422, `value="6f1b2a34-5c6d-4e7f-8a9b"`)
	v.get("/?said=org-bad&was=canary-link").want(t, 200)
	if strings.Contains(v.seen.String(), "canary-") {
		t.Error("a page shows what may be a token, or what an address puts into the form")
	}
	for _, a := range l.audits {
		t.Errorf("audited: %s", a)
	}
	org := orgN(1).String()
	if page := v.post("/organisations", "org", "  "+strings.ToUpper(org)+" "); page.at != orgURL(org)+"/connect" && page.at != orgURL(org) {
		t.Errorf("an id led to %s", page.at)
	}
}

func TestSettingsAreChangedByForms(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 2, Conversations: 20, Region: "EU"})
	l.sims["eu"] = sim
	org := orgN(1)
	l.put(org, "Acme")
	l.synced(org, 5*60e9)
	v := l.visit(member(access.Admin))
	base := orgURL(org.String())
	conn := func() (c struct {
		HasSecret, Ingest bool
		Fields, Refresh   string
	}) {
		x, err := l.store.Get(context.Background(), org)
		l.must(err)
		c.HasSecret, c.Ingest, c.Fields, c.Refresh = x.HasWebhookSecret, x.IngestEnabled, x.UserIDField+" "+x.CompanyIDField, x.ActivityRefresh.String()
		return c
	}

	v.get(base+"/settings").want(t, 200, "https://ingest.example.com/api/integrations/intercom/webhook/"+org.String(), "not configured", "conversation.user.created")
	v.post(base+"/webhook-secret", "webhook_secret", "").want(t, 200, "secret is missing")
	v.post(base+"/webhook-secret", "webhook_secret", "canary-secret-one").want(t, 200, "The webhook secret is configured", ">configured<", "Accept the old one as well")
	v.post(base+"/webhook-secret", "webhook_secret", "canary-secret-two", "grace", "5y").want(t, 200, "one of the choices")
	v.post(base+"/webhook-secret", "webhook_secret", "canary-secret-two", "grace", "1h").want(t, 200, "The old one is accepted")
	if n := scalar[int](l, `SELECT count(*) FROM ingest.connections WHERE webhook_secret_previous_until > now() + interval '50 min'`); n != 1 {
		t.Error("the old secret is not accepted any more")
	}
	v.post(base+"/refresh", "activity_refresh", "soon").want(t, 200, "Nothing was stored", `value="6h"`)
	v.post(base+"/refresh", "activity_refresh", "1s").want(t, 200, "Nothing was stored")
	v.post(base+"/refresh", "activity_refresh", " 90m ").want(t, 200, "The setting is stored", `value="1h30m"`)

	v.post(base+"/ingest", "ingest", "off", "from", "settings").want(t, 200, "Ingest is off", "Turn ingest on")
	v.get(base).want(t, 200, "Ingest is off")
	if conn().Ingest {
		t.Error("ingest is on")
	}
	if n := l.jobs(org, work.KindSync); n != 0 {
		t.Errorf("%d syncs are queued", n)
	}
	v.post(base+"/ingest", "ingest", "on").want(t, 200, "A sync has been queued")
	v.post(base+"/ingest", "ingest", "maybe").want(t, 404)
	if n := l.jobs(org, work.KindSync); n != 1 || !conn().Ingest {
		t.Errorf("%d syncs are queued, ingest %v", n, conn().Ingest)
	}

	v.get(base+"/fields").want(t, 200, "Other fields need everything to be read once more", "in use", `value="external_id" checked`)
	v.post(base+"/fields", "user_id_field", "external_id", "company_id_field", "company_id").want(t, 200, "Nothing changed")
	if n := l.jobs(org, work.KindBackfill); n != 0 {
		t.Errorf("%d backfills are queued", n)
	}
	v.post(base+"/fields", "user_id_field", "email", "company_id_field", "name").want(t, 200, "The field choices are stored")
	if n := l.jobs(org, work.KindBackfill); n != 1 || conn().Fields != "email name" {
		t.Errorf("%d backfills are queued, fields %s", n, conn().Fields)
	}
	if n := scalar[int](l, `SELECT count(*) FROM ingest.river_job WHERE kind = 'backfill' AND args->>'restart' = 'true'`); n != 1 {
		t.Error("the backfill would go on rather than begin anew")
	}
	if seen := v.seen.String(); strings.Contains(seen, "canary-") {
		t.Error("a page shows a secret")
	}
	if got := conn(); got.Refresh != "1h30m0s" || !got.HasSecret {
		t.Errorf("%+v", got)
	}

	v.get(base+"/disconnect").want(t, 200, "All rows", "Yes, delete the credentials")
	v.post(base+"/disconnect").want(t, 200, "tick the box")
	v.post(base+"/disconnect", "confirm", "yes").want(t, 200, "Disconnected", "Connect again", "not configured")
	if n := scalar[int](l, `SELECT count(*) FROM ingest.connections WHERE token IS NOT NULL OR webhook_secret IS NOT NULL OR webhook_secret_previous IS NOT NULL`); n != 0 {
		t.Error("a secret is left")
	}
	v.post(base+"/sync").want(t, 200, "none is connected")
	for _, want := range []string{"set webhook secret", "replace webhook secret", "set activity_refresh", "turn ingest off", "turn ingest on", "change fields", "disconnect"} {
		if !strings.Contains(strings.Join(l.audits, "\n"), want) {
			t.Errorf("%q was not recorded", want)
		}
	}
	if strings.Contains(strings.Join(l.audits, "\n"), "canary-") {
		t.Error("the audit log has a secret")
	}
}

func TestAnOperatorNeedNotWaitForTheNextTry(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	org, other := orgN(1), orgN(2)
	for _, o := range []record.UUID{org, other} {
		l.put(o, "Acme")
		l.must(l.queue.Backfill(context.Background(), nil, o, work.BackfillOptions{}))
	}
	l.exec(`UPDATE ingest.river_job SET state = 'retryable', attempt = 3, scheduled_at = now() + interval '8 min',
		errors = array[jsonb_build_object('error', 'read contacts: 503 service_unavailable', 'at', now(), 'attempt', 3, 'trace', '')]`)
	due := func() (n int) {
		return scalar[int](l, `SELECT count(*) FROM ingest.river_job WHERE state = 'available' AND scheduled_at <= now() AND args->>'org' = $1`, org.String())
	}
	base := orgURL(org.String())
	if page := l.visit(member(access.Viewer)).get(base); strings.Contains(page.body, "Try now") {
		t.Error("who may only look is offered to try")
	}
	v := l.visit(member(access.Operator))
	v.get(base).want(t, 200, "by itself in ", "Try now", `action="`+base+`/try-now"`)
	if due() != 0 {
		t.Fatal("to look at it changes it")
	}
	page := v.post(base + "/try-now")
	page.want(t, 200, "It is tried now")
	if page.at != base+"?said=try-now" || strings.Contains(page.body, "Try now") {
		t.Errorf("%s offers it again", page.at)
	}
	if due() != 1 || scalar[int](l, `SELECT count(*) FROM ingest.river_job WHERE state = 'retryable'`) != 1 {
		t.Error("it is another organisation's job that is tried, or none")
	}
	if all := strings.Join(l.audits, "\n"); !strings.Contains(all, org.String()+" try now") {
		t.Errorf("audited: %s", all)
	}
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	org := orgN(1)
	l.put(org, "Acme")
	l.synced(org, 5*60e9)
	l.site.o.Audit = func(context.Context, record.UUID, string, map[string]string) error { return fmt.Errorf("no room") }
	v := l.visit(member(access.Admin))
	base := orgURL(org.String())
	for path, form := range map[string][]string{"/sync": nil, "/backfill": nil, "/try-now": nil, "/read-again": nil, "/rejects/retry": nil, "/ingest": {"ingest", "off"}, "/refresh": {"activity_refresh", "1h"},
		"/webhook-secret": {"webhook_secret", "x"}, "/disconnect": {"confirm", "yes"}, "/fields": {"user_id_field", "email", "company_id_field", "name"}} {
		v.post(base+path, form...).want(t, 500, "Something went wrong here")
	}
	if n := scalar[int](l, `SELECT (SELECT count(*) FROM ingest.river_job) + (SELECT count(*) FROM ingest.connections WHERE token IS NULL OR webhook_secret IS NOT NULL OR NOT ingest_enabled)`); n != 0 {
		t.Errorf("%d things were done", n)
	}
}

func TestNothingIsOfferedThatOneMayNotDo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	org := orgN(1)
	l.put(org, "Acme")
	l.rich(org)
	base := orgURL(org.String())
	for role, allowed := range map[access.Role][]string{access.Viewer: nil, access.Operator: {"/sync", "/try-now", "/ingest", "/rejects/retry", "/backfill"}, access.Admin: {"/"}} {
		v := l.visit(member(role))
		for _, path := range []string{"", "/runs", "/rejects", "/checklist", "/settings"} {
			page := v.get(base + path)
			page.want(t, 200)
			for rest := page.body; ; {
				_, after, found := strings.Cut(rest, `method="post" action="`)
				if !found {
					break
				}
				action, _, _ := strings.Cut(after, `"`)
				rest = after
				ok := action == "/logout"
				for _, a := range allowed {
					ok = ok || strings.HasPrefix(strings.TrimPrefix(action, base), a)
				}
				if !ok {
					t.Errorf("%s is offered %s on %s", role, action, path)
				}
			}
		}
	}
}

func TestPagesThatAreNotThereAreNotFound(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(orgN(1), "Acme")
	v := l.visit(member(access.Admin))
	base := orgURL(orgN(1).String())
	for _, path := range []string{orgURL("nonsense"), base + "/runs/nonsense", base + "/runs/" + orgN(9).String(), base + "/runs?before=yesterday", base + "/rejects?before=x", "/assets/style.css"} {
		v.get(path).want(t, 404)
	}
	v.post(base+"/refresh", "activity_refresh", strings.Repeat("x", maxForm+1)).want(t, 413, "That is too much")
	v.get(base+"?said=<script>alert(1)</script>").want(t, 200)
	if strings.Contains(v.seen.String(), "<script>alert") {
		t.Error("an address puts words into the page")
	}
}

func BenchmarkTheOverviewOfABusyOrganisation(b *testing.B) {
	l := newLab(b)
	l.put(orgN(1), "Acme")
	l.rich(orgN(1))
	v := l.visit(member(access.Viewer))
	size := 0
	for b.Loop() {
		page := v.get(orgURL(orgN(1).String()))
		if size = len(page.body); page.status != 200 {
			b.Fatal(page.status)
		}
		v.seen.Reset()
	}
	b.ReportMetric(float64(size), "bytes/page")
}
