package access_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
)

var shownLink = regexp.MustCompile(`/setup\?token=[A-Za-z0-9_-]{43}`)

// find reads somebody.
func (h *house) find(name string) access.User {
	h.t.Helper()
	u, err := h.gate.Users().Find(h.as(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

func TestAnOverseerLooksAfterPeople(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("root", true, nil)
	v := h.visitor().signIn("root")
	r := v.post("/people", "action", "add", "name", "Ada <b>Lovelace</b>", "org", orgA.String(), "role", "operator")
	link := shownLink.FindString(r.body)
	if r.status != http.StatusOK || link == "" || strings.Contains(r.body, "<b>Lovelace") {
		t.Fatalf("added: %d %s", r.status, r.body)
	}
	if again := v.get("/people"); shownLink.MatchString(again.body) || !strings.Contains(again.body, "Lovelace") {
		t.Error("the link is shown a second time, or the person not at all")
	}
	guest := h.visitor()
	guest.get(link)
	if r := guest.get("/setup"); !strings.Contains(r.body, "readonly") || !strings.Contains(r.body, "Lovelace") {
		t.Errorf("the form: %s", r.body)
	}
	if r := guest.post("/setup", "username", "root", "password", password, "password_again", password); r.location != "/" {
		t.Fatalf("set: %d %s", r.status, r.body)
	}
	if who := guest.is(); who != "Ada <b>Lovelace</b>" {
		t.Errorf("signed in is %q", who)
	}
	ada := h.find("ada <b>lovelace</b>")
	if diff := cmp.Diff(map[record.UUID]access.Role{orgA: access.Operator}, ada.Roles); diff != "" {
		t.Error(diff)
	}
	does := func(action string, more ...string) {
		t.Helper()
		if r := v.post("/people", append([]string{"action", action, "user", ada.ID.String()}, more...)...); r.status != http.StatusSeeOther {
			t.Fatalf("%s: %d", action, r.status)
		}
		if r := v.get("/people"); !strings.Contains(r.body, `class="notice good"`) {
			t.Errorf("%s: the page does not say that it was done", action)
		}
	}
	does("role", "org", orgB.String(), "role", "admin")
	does("role", "org", orgA.String(), "role", "none")
	does("overseer")
	if got := h.find(ada.Name); !got.Overseer || got.Roles[orgA] != access.NoRole || got.Roles[orgB] != access.Admin {
		t.Errorf("%+v", got)
	}
	does("member")
	does("signout")
	if who := guest.is(); who != "" {
		t.Errorf("signed out everywhere, and still %q", who)
	}
	does("disable")
	if r := guest.post("/login", "username", ada.Name, "password", password); r.status != http.StatusUnprocessableEntity {
		t.Errorf("disabled: %d", r.status)
	}
	does("enable")
	guest.signIn(ada.Name)
	// The last one who looks after it stays.
	root := h.find("root")
	for _, action := range []string{"disable", "member"} {
		v.post("/people", "action", action, "user", root.ID.String())
		if r := v.get("/people"); !strings.Contains(r.body, `class="notice bad"`) || !strings.Contains(r.body, "last one") {
			t.Errorf("%s of the last overseer: %s", action, r.body)
		}
	}
	for _, pairs := range [][]string{
		{"action", "add", "name", "ROOT"}, {"action", "add", "name", ""}, {"action", "add", "name", "x", "org", "nonsense"}, {"action", "add", "name", strings.Repeat("x", 300)},
		{"action", "role", "user", ada.ID.String(), "org", orgA.String(), "role", "king"}, {"action", "disable", "user", orgA.String()}, {"action", "disable", "user", "x"},
	} {
		v.post("/people", pairs...)
		if r := v.get("/people"); !strings.Contains(r.body, `class="notice bad"`) {
			t.Errorf("%v: nothing is said", pairs)
		}
	}
	if r := v.post("/people", "action", "dance", "user", ada.ID.String()); r.status != http.StatusBadRequest {
		t.Errorf("another action: %d", r.status)
	}
	if r := v.post("/people", "action", "add", "name", strings.Repeat("x", 70<<10)); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: %d", r.status)
	}
}

func TestAnAdminGivesRolesInTheOwnOrganisationOnly(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("root", true, nil)
	h.person("boss", false, map[record.UUID]access.Role{orgA: access.Admin})
	h.person("other", false, map[record.UUID]access.Role{orgB: access.Viewer})
	v := h.visitor().signIn("boss")
	page := "/integrations/intercom/" + orgA.String() + "/people"
	r := v.post(page, "action", "add", "name", "new", "role", "viewer", "org", orgB.String(), "overseer", "yes")
	if r.status != http.StatusOK || !shownLink.MatchString(r.body) {
		t.Fatalf("added: %d %s", r.status, r.body)
	}
	if u := h.find("new"); u.Overseer || len(u.Roles) != 1 || u.Roles[orgA] != access.Viewer {
		t.Errorf("%+v", u)
	}
	if r := v.post(page, "action", "link", "user", h.find("new").ID.String()); !shownLink.MatchString(r.body) {
		t.Errorf("another link for who has not come yet: %d", r.status)
	}
	// Who is known already gets a role, and no link that would let the admin be them elsewhere.
	if r := v.post(page, "action", "add", "name", "Other", "role", "operator"); r.status != http.StatusSeeOther {
		t.Errorf("somebody known: %d", r.status)
	}
	other := h.find("other")
	if diff := cmp.Diff(map[record.UUID]access.Role{orgA: access.Operator, orgB: access.Viewer}, other.Roles); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"other", "boss"} {
		if r := v.post(page, "action", "link", "user", h.find(name).ID.String()); shownLink.MatchString(r.body) {
			t.Errorf("an admin has made a link for %s", name)
		}
	}
	v.post(page, "action", "role", "user", other.ID.String(), "role", "none", "org", orgB.String())
	if diff := cmp.Diff(map[record.UUID]access.Role{orgB: access.Viewer}, h.find("other").Roles); diff != "" {
		t.Error(diff)
	}
	// Nobody else can be reached from there.
	root := h.find("root")
	for _, action := range []string{"role", "link", "disable", "overseer", "signout"} {
		v.post(page, "action", action, "user", root.ID.String(), "role", "viewer")
	}
	if got := h.find("root"); !cmp.Equal(got.Roles, root.Roles) || !got.Overseer || got.Disabled {
		t.Errorf("%+v", got)
	}
	if r := v.get(page); strings.Contains(r.body, "root") || !strings.Contains(r.body, "boss") {
		t.Error("the page shows who is not of this organisation, or not who is")
	}
}

func TestWhatWasDoneIsRecorded(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("root", true, nil)
	v := h.visitor().signIn("root")
	v.post("/people", "action", "add", "name", "ada", "org", orgA.String(), "role", "admin")
	h.visitor().post("/login", "username", "root", "password", "wrong")
	ctx := access.With(t.Context(), access.Identity{User: h.find("root").ID, Name: "root"})
	if err := h.gate.Audit(ctx, orgB, "disconnected", map[string]string{"workspace": "Acme <script>"}); err != nil {
		t.Fatal(err)
	}
	r := v.get("/audit")
	for _, want := range []string{"signed in", "added a person", "set a role", "name: ada", "role: admin", "was refused to sign in", "127.0.0.1", "disconnected", "workspace: Acme &lt;script&gt;", orgB.String()} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	h.person("boss", false, map[record.UUID]access.Role{orgB: access.Admin})
	of := h.visitor().signIn("boss").get("/integrations/intercom/" + orgB.String() + "/audit")
	if !strings.Contains(of.body, "disconnected") || strings.Contains(of.body, "ada") || strings.Contains(of.body, "signed in") {
		t.Errorf("the page of one organisation: %s", of.body)
	}
	for range 120 {
		if err := h.gate.Audit(ctx, orgA, "walked", nil); err != nil {
			t.Fatal(err)
		}
	}
	r = v.get("/audit")
	if n := strings.Count(r.body, "<tr>") - 1; n != 100 {
		t.Errorf("a page has %d records", n)
	}
	older := regexp.MustCompile(`/audit\?before=\d+`).FindString(r.body)
	if r := v.get(older); r.status != http.StatusOK || !strings.Contains(r.body, "added a person") {
		t.Errorf("the older page %q: %d", older, r.status)
	}
}

func TestScriptsReadByTokenAndChangeNothing(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	u := h.person("ada", false, map[record.UUID]access.Role{orgA: access.Admin})
	v := h.visitor().signIn("ada")
	r := v.post("/account", "action", "token", "label", "dashboard <i>")
	token := regexp.MustCompile(`hi_[A-Za-z0-9_-]{43}`).FindString(r.body)
	if r.status != http.StatusOK || token == "" {
		t.Fatalf("made: %d %s", r.status, r.body)
	}
	if r := v.get("/account"); strings.Contains(r.body, token) || !strings.Contains(r.body, "dashboard &lt;i&gt;") {
		t.Error("the token is shown a second time, or its label not at all")
	}
	with := func(method, path, token string) reply {
		t.Helper()
		v := h.visitor()
		req := v.request(method, path, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		return v.do(req)
	}
	if r := with("GET", "/api/me", token); r.status != http.StatusOK || r.body != "ada" || len(r.header.Values("Set-Cookie")) > 0 {
		t.Errorf("reading: %d %q", r.status, r.body)
	}
	for _, c := range []struct{ method, path, token string }{{"POST", "/api/me", token}, {"GET", "/api/me", token + "x"}, {"GET", "/api/me", "hi_"}, {"GET", "/api/me", ""}} {
		r := with(c.method, c.path, c.token)
		if r.status != http.StatusUnauthorized || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") || r.header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(r.body, `"error"`) {
			t.Errorf("%v: %d %q", c, r.status, r.body)
		}
	}
	if r := with("GET", "/account", token); r.status != http.StatusSeeOther {
		t.Errorf("a page by token: %d", r.status)
	}
	list, err := h.gate.Users().Tokens(h.as(), u.ID)
	if err != nil || len(list) != 1 || list[0].UsedAt.IsZero() {
		t.Fatalf("%+v, %v", list, err)
	}
	// Of somebody else it cannot be revoked.
	eve := h.person("eve", false, nil)
	h.visitor().signIn("eve").post("/account", "action", "revoke", "token", list[0].ID.String())
	if r := with("GET", "/api/me", token); r.status != http.StatusOK {
		t.Errorf("revoked by %s: %d", eve.Name, r.status)
	}
	if err := h.gate.Users().SetDisabled(h.as(), u.ID, true); err != nil {
		t.Fatal(err)
	}
	if r := with("GET", "/api/me", token); r.status != http.StatusUnauthorized {
		t.Errorf("of somebody who is disabled: %d", r.status)
	}
	if err := h.gate.Users().SetDisabled(h.as(), u.ID, false); err != nil {
		t.Fatal(err)
	}
	v.signIn("ada").post("/account", "action", "revoke", "token", list[0].ID.String())
	if r := with("GET", "/api/me", token); r.status != http.StatusUnauthorized {
		t.Errorf("revoked: %d", r.status)
	}
}

func TestPeopleChangeTheirOwnPassword(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("ada", true, nil)
	v, elsewhere := h.visitor().signIn("ada"), h.visitor().signIn("ada")
	const next = "another walk in the snow"
	for what, pairs := range map[string][]string{
		"wrong now":   {"current", "wrong", "password", next, "password_again", next},
		"not twice":   {"current", password, "password", next, "password_again", next + "!"},
		"too short":   {"current", password, "password", "short", "password_again", "short"},
		"none at all": {},
	} {
		v.post("/account", append([]string{"action", "password"}, pairs...)...)
		if r := v.get("/account"); !strings.Contains(r.body, `class="notice bad"`) {
			t.Errorf("%s: nothing is said", what)
		}
	}
	if elsewhere.is() != "ada" {
		t.Fatal("signed out by an attempt")
	}
	v.post("/account", "action", "password", "current", password, "password", next, "password_again", next)
	if v.is() != "ada" || elsewhere.is() != "" {
		t.Errorf("here it is %q, elsewhere %q", v.is(), elsewhere.is())
	}
	if r := h.visitor().post("/login", "username", "ada", "password", next); r.status != http.StatusSeeOther {
		t.Errorf("with the new one: %d", r.status)
	}
	// Whoever has found the screen cannot guess there without end.
	for range 12 {
		v.post("/account", "action", "password", "current", "guess", "password", next, "password_again", next)
	}
	if r := v.get("/account"); !strings.Contains(r.body, "too many attempts") {
		t.Error("guesses are not limited")
	}
}

func TestPasswordsThatEverybodyTriesFirstAreRefused(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", "short", "elevenchars", "aaaaaaaaaaaaaaaa", "123456789012", "1234567890123456", "abcabcabcabc", "qwertyuiop12", "qwertyuiopasdf", "Password1234", "passwordpassword",
		"P@ssword2024!", "Welcome2025!!", "letmeinletmein", "iloveyou12345", "1q2w3e4r5t6y", "1qaz2wsx3edc", "administrator1", "ada@example.com", "ADA@EXAMPLE.COM1", "changeme12345", "Summer2026!!", "112233112233",
		"halo-ingest-admin", "\xff\xfe234567890123", strings.Repeat("long ", 300), "ＰＡＳＳＷＯＲＤ１２３４"} {
		var input *access.InputError
		if err := access.CheckPassword(p, "ada@example.com"); !errors.As(err, &input) {
			t.Errorf("%q is taken: %v", p, err)
		}
	}
	for _, p := range []string{password, "correct horse battery staple", "hTq3-9vLm.x2Zr", "der Igel schläft im Laub", "猫が庭で眠っている夏の午後です", "918273645546372819203847", "new moon over my pale orchard", "hunter2hunter9x"} {
		if err := access.CheckPassword(p, "ada@example.com"); err != nil {
			t.Errorf("%q is refused: %v", p, err)
		}
	}
	if err := access.CheckPassword(password, "al"); err != nil { // a short name is part of many by chance
		t.Error(err)
	}
}

// Two who take each other's powers at once do not leave nobody. Both are held up at their last statement, so that neither is first.
func TestThereIsAlwaysAnOverseer(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	users := h.gate.Users()
	both := []access.User{h.person("ada", true, nil), h.person("bob", true, nil)}
	tx, err := h.db.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `LOCK TABLE ingest.audit IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, u := range both {
		group.Go(func() {
			var input *access.InputError
			if err := users.SetDisabled(h.as(), u.ID, true); err != nil && !errors.As(err, &input) {
				t.Error(err)
			}
		})
	}
	for waiting, deadline := 0, time.Now().Add(time.Minute); waiting < 2; time.Sleep(10 * time.Millisecond) {
		err := h.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d wait, %v", waiting, err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	list, err := users.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(u access.User) bool { return u.Overseer && !u.Disabled }) {
		t.Error("there is no overseer any more")
	}
}

// While the database is away nobody is let in, and the page says so.
func TestWhileTheDatabaseIsAwayNobodyIsLetIn(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("ada", true, nil)
	v := h.visitor().signIn("ada")
	h.db.Close()
	for _, path := range []string{"/", "/api/me", "/people", "/login"} {
		if r := v.get(path); r.status < 500 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if r := v.post("/login", "username", "ada", "password", password); r.status < 500 {
		t.Errorf("signing in: %d", r.status)
	}
	if r := v.get("/healthz"); r.status != http.StatusOK {
		t.Errorf("what is for anybody: %d", r.status)
	}
}

func TestAPanicIsAnAnswerAndALineInTheLog(t *testing.T) {
	t.Parallel()
	boom := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic("boom") })
	h := open(t, access.Options{}, access.Route{Method: "GET", Pattern: "/boom", Policy: access.Policy{Need: access.Anyone}, Handler: boom},
		access.Route{Method: "GET", Pattern: "/api/boom", Policy: access.Policy{Need: access.Anyone}, Handler: boom},
		access.Route{Method: "GET", Pattern: "/late", Policy: access.Policy{Need: access.Anyone}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			panic("boom")
		})})
	v := h.visitor()
	if r := v.get("/boom"); r.status != http.StatusInternalServerError || strings.Contains(r.body, "boom") || r.header.Get("Content-Security-Policy") == "" {
		t.Errorf("a page: %d %s", r.status, r.body)
	}
	if r := v.get("/api/boom"); r.status != http.StatusInternalServerError || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("JSON: %d %s", r.status, r.body)
	}
	if n := strings.Count(h.log.String(), "a request ended in a panic"); n != 2 {
		t.Errorf("the log has %d such lines", n)
	}
	res, err := v.client.Do(v.request("GET", "/late", nil))
	if err == nil {
		b := make([]byte, 100)
		_, _ = res.Body.Read(b)
		if _, err = res.Body.Read(b); err == nil {
			t.Error("half an answer looks like a whole one")
		}
		res.Body.Close()
	}
}

func TestOrganisationsAreThoseOfWhoAsks(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	u := h.person("ada", false, map[record.UUID]access.Role{orgA: access.Viewer})
	if _, err := h.db.Pool().Exec(t.Context(), `INSERT INTO ingest.connections (org_id, region, workspace_id) VALUES ($1, 'eu', 'w')`, orgB); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who  access.Identity
		want []record.UUID
	}{{access.Identity{User: u.ID}, []record.UUID{orgA}}, {access.Identity{User: u.ID, Overseer: true}, []record.UUID{orgA, orgB}}, {access.Identity{}, nil}} {
		got, err := h.gate.Users().Organisations(context.Background(), c.who)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c.who, got, err)
		}
	}
}
