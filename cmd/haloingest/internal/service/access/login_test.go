package access_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
)

// firstLink is the path and query of the link that the start of the service prints.
func (h *house) firstLink() string {
	h.t.Helper()
	link, err := h.gate.FirstLink(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	if link == "" {
		return ""
	}
	path, ok := strings.CutPrefix(link, h.url)
	if !ok {
		h.t.Fatalf("the link %q is not of %s", link, h.url)
	}
	return path
}

func TestTheFirstPersonIsMadeByALinkThatWorksOnce(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	old, link := h.firstLink(), h.firstLink()
	v := h.visitor()
	if r := v.get(old); r.status != http.StatusGone || !strings.Contains(r.body, "does not work any more") {
		t.Errorf("the link of the start before: %d", r.status)
	}
	r := v.get(link)
	if r.status != http.StatusSeeOther || r.location != "/setup" || r.header.Get("Referrer-Policy") != "no-referrer" || r.header.Get("Cache-Control") == "" {
		t.Fatalf("the link: %d to %q, %v", r.status, r.location, r.header)
	}
	r = v.get("/setup")
	if r.status != http.StatusOK {
		t.Fatalf("the form: %d %s", r.status, r.body)
	}
	for _, want := range []string{`name="username"`, `name="password"`, `name="password_again"`, `autocomplete="username"`, `autocomplete="new-password"`, `action="/setup"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the form has no %s", want)
		}
	}
	for what, pairs := range map[string][]string{
		"two passwords": {"username", "ada@example.com", "password", password, "password_again", password + "r"},
		"short":         {"username", "ada@example.com", "password", "eleven char", "password_again", "eleven char"},
		"usual":         {"username", "ada@example.com", "password", "Password1234!", "password_again", "Password1234!"},
		"the name":      {"username", "ada@example.com", "password", "ada@example.com", "password_again", "ada@example.com"},
		"no name":       {"username", " ", "password", password, "password_again", password},
	} {
		if r := v.post("/setup", pairs...); r.status != http.StatusUnprocessableEntity || !strings.Contains(r.body, `role="alert"`) || strings.Contains(r.body, "eleven char") {
			t.Errorf("%s: %d", what, r.status)
		}
	}
	r = v.post("/setup", "username", " ada@example.com ", "password", password, "password_again", password)
	if r.status != http.StatusSeeOther || r.location != "/" {
		t.Fatalf("set up: %d to %q, %s", r.status, r.location, r.body)
	}
	if who := v.is(); who != "ada@example.com" {
		t.Errorf("signed in is %q", who)
	}
	if r := v.get("/people"); r.status != http.StatusOK {
		t.Errorf("the first person does not look after the installation: %d", r.status)
	}
	if r := h.visitor().get(link); r.status != http.StatusGone {
		t.Errorf("the link a second time: %d", r.status)
	}
	if again := h.firstLink(); again != "" {
		t.Errorf("there is somebody, and a first link: %q", again)
	}
	token := strings.TrimPrefix(link, "/setup?token=")
	if strings.Contains(h.log.String(), token) {
		t.Error("the log holds the link's token")
	}
}

func TestOfTwoWhoOpenALinkOneUsesIt(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.bothOpen(h.firstLink())
	list, err := h.gate.Users().List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("there are %d people, %v", len(list), err)
	}
	token, err := h.gate.Users().Link(h.as(), list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	h.bothOpen("/setup?token=" + token)
}

// bothOpen lets two use a link at once.
func (h *house) bothOpen(link string) {
	h.t.Helper()
	done := make(chan int, 2)
	for _, name := range []string{"ada", "bob"} {
		v := h.visitor()
		v.get(link)
		req := v.request("POST", "/setup", url.Values{"username": {name}, "password": {password}, "password_again": {password}})
		go func() {
			res, err := v.client.Do(req)
			if err != nil {
				done <- 0
				return
			}
			res.Body.Close()
			done <- res.StatusCode
		}()
	}
	a, b := <-done, <-done
	if min(a, b) != http.StatusSeeOther || max(a, b) != http.StatusGone {
		h.t.Errorf("the answers are %d and %d", a, b)
	}
}

func TestALinkExpires(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	link := h.firstLink()
	v := h.visitor()
	v.get(link)
	if _, err := h.db.Pool().Exec(t.Context(), `UPDATE ingest.access_links SET expires_at = now() - interval '1 second'`); err != nil {
		t.Fatal(err)
	}
	if r := v.get(link); r.status != http.StatusGone {
		t.Errorf("the link: %d", r.status)
	}
	if r := v.post("/setup", "username", "ada", "password", password, "password_again", password); r.status != http.StatusGone {
		t.Errorf("the form: %d", r.status)
	}
	if r := h.visitor().get("/setup"); r.status != http.StatusGone {
		t.Errorf("without a link: %d", r.status)
	}
}

func TestSigningInLeadsBackToWhereOneWantedToGo(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("Ada@Example.com", false, map[record.UUID]access.Role{orgA: access.Viewer})
	v := h.visitor()
	there := "/integrations/intercom/" + orgA.String() + "?tab=runs&x=%26"
	r := v.get(there)
	if r.status != http.StatusSeeOther || r.location != "/login?next="+url.QueryEscape(there) {
		t.Fatalf("not signed in: %d to %q", r.status, r.location)
	}
	r = v.get(r.location)
	for _, want := range []string{`name="username"`, `name="password"`, `autocomplete="current-password"`, `value="/integrations/intercom/` + orgA.String() + `?tab=runs&amp;x=%26"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the form has no %s", want)
		}
	}
	r = v.post("/login", "username", "ada@EXAMPLE.com", "password", password, "next", there)
	if r.status != http.StatusSeeOther || r.location != there {
		t.Fatalf("signed in: %d to %q", r.status, r.location)
	}
	if r := v.get(there); r.status != http.StatusOK || r.body != "Ada@Example.com" {
		t.Errorf("there: %d %s", r.status, r.body)
	}
	if r := v.get("/login?next=" + url.QueryEscape(there)); r.status != http.StatusSeeOther || r.location != there {
		t.Errorf("to the form once more: %d to %q", r.status, r.location)
	}
	for _, evil := range []string{"https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "/%2f/elsewhere.example", "///elsewhere.example", "javascript:alert(1)", "\thttps://elsewhere.example",
		"/\t/elsewhere.example", "http:elsewhere.example", "elsewhere.example", "/..//elsewhere.example", "/logout", "/login", "/api/me", "@elsewhere.example", ""} {
		if r := h.visitor().post("/login", "username", "ada@example.com", "password", password, "next", evil); r.location != "/" {
			t.Errorf("to %q: sent to %q", evil, r.location)
		}
	}
	if r := v.post("/logout"); r.status != http.StatusSeeOther || r.location != "/login" {
		t.Errorf("out: %d to %q", r.status, r.location)
	}
	if who := v.is(); who != "" {
		t.Errorf("signed out, and still %q", who)
	}
}

// Whoever is not known, has no password, or is disabled, gets the same words as whose password is wrong.
func TestNobodyLearnsWhichNamesThereAre(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("ada", true, nil)
	gone := h.person("gone", false, nil)
	if err := h.gate.Users().SetDisabled(h.as(), gone.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.gate.Users().Add(h.as(), "new", false, nil); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, c := range [][2]string{{"ada", "not her password"}, {"mallory", password}, {"gone", password}, {"new", ""}, {"new", password}, {"", ""}, {"ada", strings.Repeat("x", 5000)}} {
		r := h.visitor().post("/login", "username", c[0], "password", c[1])
		if r.status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d", c[0], r.status)
		}
		body := strings.ReplaceAll(r.body, `value="`+c[0]+`"`, `value=""`)
		if want == "" {
			want = body
		}
		if body != want {
			t.Errorf("%q gets another page", c[0])
		}
	}
	if got := h.log.String(); strings.Contains(got, "not her password") || strings.Contains(got, password) || strings.Contains(got, "mallory") {
		t.Errorf("the log says %s", got)
	}
}

func TestAttemptsToSignInAreLimitedOverAllProcesses(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	one, two := openOn(t, db, access.Options{Proxies: proxies}), openOn(t, db, access.Options{Proxies: proxies})
	one.person("ada", true, nil)
	try := func(h *house, address, name, pass string) int {
		t.Helper()
		v := h.visitor()
		req := v.request("POST", "/login", url.Values{"username": {name}, "password": {pass}})
		req.Header.Set("X-Forwarded-For", "192.0.2.200, "+address)
		return v.do(req).status
	}
	for i := range 10 {
		h := []*house{one, two}[i%2]
		if got := try(h, "203.0.113.7", "ada", "wrong"); got != http.StatusUnprocessableEntity {
			t.Fatalf("attempt %d: %d", i, got)
		}
	}
	for _, h := range []*house{one, two} {
		if got := try(h, "203.0.113.7", "Ada", password); got != http.StatusTooManyRequests {
			t.Errorf("the eleventh: %d", got)
		}
	}
	// Somebody else's attempts do not keep her out elsewhere, and those who can sign in are never limited.
	for range 15 {
		if got := try(two, "203.0.113.9", "ada", password); got != http.StatusSeeOther {
			t.Fatalf("from elsewhere: %d", got)
		}
	}
	// After a while it goes on.
	if _, err := db.Pool().Exec(t.Context(), `UPDATE ingest.login_limits SET at = at - interval '90 seconds'`); err != nil {
		t.Fatal(err)
	}
	if got := try(one, "203.0.113.7", "ada", "wrong"); got != http.StatusUnprocessableEntity {
		t.Errorf("a minute later: %d", got)
	}
	if got := try(one, "203.0.113.7", "ada", "wrong"); got != http.StatusTooManyRequests {
		t.Errorf("once more: %d", got)
	}
	// An address is limited over all names, a network of IPv6 as one.
	refused := 0
	for i := range 70 {
		if try(one, "2001:db8::"+string(rune('a'+i%6)), "name"+string(rune('a'+i%20)), "") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 5 || refused > 10 {
		t.Errorf("of 70 attempts of one network, %d were refused", refused)
	}
	// What a client says of itself is believed of proxies only.
	far := openOn(t, db, access.Options{})
	if got := try(far, "203.0.113.99", "ada", "wrong"); got != http.StatusUnprocessableEntity {
		t.Errorf("directly: %d", got)
	}
	var n int
	if err := db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM ingest.login_limits WHERE key LIKE '%203.0.113.99%'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("the address that a client gave itself counts: %d, %v", n, err)
	}
}

func TestCookiesAreKeptToHTTPSAndToThisHost(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		h := open(t, access.Options{Secure: secure})
		h.person("ada", true, nil)
		v := h.visitor()
		if secure { // a client that trusts the test's certificate
			v.client.Transport = tlsTransport()
		}
		r := v.post("/login", "username", "ada", "password", password)
		cookies := (&http.Response{Header: r.header}).Cookies()
		if len(cookies) != 1 {
			t.Fatalf("cookies: %v", cookies)
		}
		c := cookies[0]
		want := "haloingest"
		if secure {
			want = "__Host-haloingest"
		}
		if c.Name != want || c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Value) < 43 {
			t.Errorf("by https %t: %+v", secure, c)
		}
		if who := v.is(); who != "ada" {
			t.Errorf("by https %t: signed in is %q", secure, who)
		}
	}
}

func TestSigningInGivesASessionAnotherToken(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("ada", true, nil)
	v := h.visitor()
	u, _ := url.Parse(h.url)
	// What somebody else has put into the browser before.
	v.client.Jar.SetCookies(u, []*http.Cookie{{Name: "haloingest", Value: "chosen-by-somebody-else", Path: "/"}})
	v.signIn("ada")
	first := v.client.Jar.Cookies(u)[0].Value
	v.signIn("ada")
	second := v.client.Jar.Cookies(u)[0].Value
	if first == "chosen-by-somebody-else" || first == second {
		t.Errorf("the tokens are %q and %q", first, second)
	}
	other := h.visitor()
	other.client.Jar.SetCookies(u, []*http.Cookie{{Name: "haloingest", Value: first, Path: "/"}})
	if who := other.is(); who != "" {
		t.Errorf("the token before is still %q's", who)
	}
}

func TestSessionsEndWhenTheyAreNotUsedAndInAnyCase(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{Idle: time.Hour, Lifetime: 24 * time.Hour})
	h.person("ada", true, nil)
	for what, sql := range map[string]string{
		"not used":    `UPDATE ingest.sessions SET seen_at = now() - interval '61 minutes'`,
		"in any case": `UPDATE ingest.sessions SET expires_at = now() - interval '1 second'`,
		"deleted":     `DELETE FROM ingest.sessions`,
	} {
		v := h.visitor().signIn("ada")
		if who := v.is(); who != "ada" {
			t.Fatalf("signed in is %q", who)
		}
		if _, err := h.db.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		if who := v.is(); who != "" {
			t.Errorf("%s, and still %q", what, who)
		}
	}
	v := h.visitor().signIn("ada")
	if _, err := h.db.Pool().Exec(t.Context(), `UPDATE ingest.sessions SET seen_at = now() - interval '30 minutes'`); err != nil {
		t.Fatal(err)
	}
	if who := v.is(); who != "ada" {
		t.Fatalf("signed in is %q", who)
	}
	var seen time.Duration
	if err := h.db.Pool().QueryRow(t.Context(), `SELECT now() - seen_at FROM ingest.sessions`).Scan(&seen); err != nil || seen > 10*time.Minute {
		t.Errorf("the session was used %s ago, %v", seen, err)
	}
	var expires time.Duration
	if err := h.db.Pool().QueryRow(t.Context(), `SELECT expires_at - now() FROM ingest.sessions`).Scan(&expires); err != nil || expires > 24*time.Hour {
		t.Errorf("the session lasts %s more, %v", expires, err)
	}
}

func TestAllSessionsEndWithAnotherPasswordAndWhenSomebodyIsDisabled(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	h.person("root", true, nil)
	u := h.person("ada", false, nil)
	users := h.gate.Users()
	for what, change := range map[string]func() error{
		"another password": func() error { return users.SetPassword(h.as(), u.ID, password) },
		"ended":            func() error { return users.EndSessions(h.as(), u.ID) },
		"disabled": func() error {
			err := users.SetDisabled(h.as(), u.ID, true)
			if err == nil {
				err = users.SetDisabled(h.as(), u.ID, false)
			}
			return err
		},
	} {
		one, two := h.visitor().signIn("ada"), h.visitor().signIn("ada")
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if one.is() != "" || two.is() != "" {
			t.Errorf("%s: a session goes on", what)
		}
	}
	// Also one that a request has in hand while it ends: it is not written back.
	v := h.visitor().signIn("ada")
	if r := v.post("/account", "action", "revoke", "token", orgA.String()); r.status != http.StatusSeeOther {
		t.Fatalf("%d", r.status)
	}
	if _, err := h.db.Pool().Exec(t.Context(), `UPDATE ingest.users SET epoch = epoch + 1`); err != nil {
		t.Fatal(err)
	}
	if who := v.is(); who != "" {
		t.Errorf("of an epoch before, and still %q", who)
	}
}

// What the database holds opens nothing.
func TestNothingThatIsStoredIsAPasswordOrAToken(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	link := strings.TrimPrefix(h.firstLink(), "/setup?token=")
	u := h.person("ada", true, nil)
	v := h.visitor().signIn("ada")
	at, _ := url.Parse(h.url)
	session := v.client.Jar.Cookies(at)[0].Value
	token, err := h.gate.Users().AddToken(h.as(), u.ID, "dashboard")
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.gate.Users().Link(h.as(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	waiting := h.visitor()
	if r := waiting.get("/setup?token=" + second); r.status != http.StatusSeeOther {
		t.Fatalf("%d", r.status)
	}
	v.post("/login", "username", "ada", "password", "a wrong but telling password")
	var all strings.Builder
	for _, table := range []string{"users", "memberships", "sessions", "access_links", "access_tokens", "login_limits", "audit"} {
		rows, err := h.db.Pool().Query(t.Context(), `SELECT t::text FROM ingest.`+table+` t`)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			all.WriteString(text + "\n")
			for _, hexadecimal := range strings.Split(text, `\x`)[1:] { // bytea, which may be a text
				end := strings.IndexFunc(hexadecimal, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
				if b, err := hex.DecodeString(hexadecimal[:max(end, 0)]); err == nil {
					all.Write(b)
				}
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(all.String(), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error("there is no argon2id hash of the wanted strength")
	}
	for what, secret := range map[string]string{"first link": link, "link": second, "session": session, "token": token, "password": password, "wrong password": "a wrong but telling password"} {
		raw, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(secret, access.TokenPrefix))
		if strings.Contains(all.String(), secret) || len(raw) == 32 && strings.Contains(all.String(), hex.EncodeToString(raw)) {
			t.Errorf("the database holds the %s", what)
		}
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log holds the %s", what)
		}
	}
}

// A long answer, such as a stream of events, ends soon after its reader may not have it any more.
func TestALongAnswerEndsWhenItsReaderMayNotHaveItAnyMore(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	h := open(t, access.Options{Recheck: 20 * time.Millisecond}, access.Route{Method: "GET", Pattern: "/stream", Policy: access.Policy{Need: access.Person},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})})
	u := h.person("ada", false, map[record.UUID]access.Role{orgA: access.Admin})
	v := h.visitor().signIn("ada")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := v.client.Do(v.request("GET", "/stream", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := h.gate.Users().SetRole(h.as(), u.ID, orgA, access.Viewer); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("the answer goes on")
	}
}
