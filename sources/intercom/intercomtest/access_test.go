package intercomtest

import (
	"fmt"
	"testing"
	"time"
)

func TestWhoMayReadWhat(t *testing.T) {
	plain := Start(t, Options{Conversations: 20})
	poor := Start(t, Options{Conversations: 20, Scopes: ScopeRead &^ (ScopeTickets | ScopeCompanies)})
	noAdmins := Start(t, Options{Conversations: 20, Scopes: ScopeRead &^ ScopeAdmins, ScopeStatus: 401, ScopeCode: "forbidden"})
	writer := Start(t, Options{Conversations: 20, Scopes: ScopeRead | ScopeWriteCompanies})
	old := Start(t, Options{Conversations: 20, DefaultVersion: "1.0"})
	search := `{"query":{"field":"created_at","operator":">","value":0}}`
	for _, c := range []struct {
		name               string
		s                  *Server
		method, path, body string
		header             []string
		status             int
		code               string
	}{
		{"a right token is let in", plain, "GET", "/me", "", nil, 200, ""},
		{"no Authorization header is refused", plain, "GET", "/me", "", []string{"Authorization: "}, 401, "missing_authorization"},
		{"a wrong token is refused", plain, "GET", "/me", "", []string{"Authorization: Bearer wrong"}, 401, "unauthorized"},
		{"another scheme than Bearer is refused", plain, "GET", "/me", "", []string{"Authorization: Basic " + TestToken}, 401, "unauthorized"},
		{"the wrong Accept is refused", plain, "GET", "/me", "", []string{"Accept: text/html"}, 406, "not_acceptable"},
		{"no Accept is refused", plain, "GET", "/me", "", []string{"Accept: "}, 406, "not_acceptable"},
		{"Accept of anything will do", plain, "GET", "/me", "", []string{"Accept: */*"}, 200, ""},
		{"a version that does not exist is refused", plain, "GET", "/me", "", []string{"Intercom-Version: 2.99"}, 400, "intercom_version_invalid"},
		{"nonsense for a version is refused", plain, "GET", "/me", "", []string{"Intercom-Version: latest"}, 400, "intercom_version_invalid"},
		{"the rolling version is known", plain, "GET", "/me", "", []string{"Intercom-Version: Preview"}, 200, ""},
		{"without a version the app's setting decides", old, "GET", "/contacts", "", nil, 400, "intercom_version_invalid"},
		{"the header wins over the app's setting", old, "GET", "/contacts", "", []string{"Intercom-Version: 2.16"}, 200, ""},
		{"an unknown path is 404", plain, "GET", "/nothing", "", nil, 404, "not_found"},
		{"an unsupported method is 404", plain, "GET", "/conversations/search", "", nil, 404, "not_found"},
		{"a list of tickets does not exist", plain, "GET", "/tickets", "", nil, 404, "not_found"},
		{"a missing scope for tickets is named by its code", poor, "POST", "/tickets/search", search, nil, 403, "token_unauthorized"},
		{"a missing scope for companies closes the scroll", poor, "GET", "/companies/scroll", "", nil, 403, "token_unauthorized"},
		{"other kinds are not concerned", poor, "GET", "/contacts", "", nil, 200, ""},
		{"status and code of a missing scope can be chosen", noAdmins, "GET", "/me", "", nil, 401, "forbidden"},
		{"listing companies needs a write scope", plain, "POST", "/companies/list", "", nil, 403, "token_unauthorized"},
		{"with the write scope companies are listed", writer, "POST", "/companies/list", "", nil, 200, ""},
		{"deleted conversations are not known before 2.16", plain, "GET", "/conversations/deleted", "", []string{"Intercom-Version: 2.15"}, 400, "intercom_version_invalid"},
		{"deleted conversations are known from 2.16 on", plain, "GET", "/conversations/deleted", "", []string{"Intercom-Version: 2.16"}, 200, ""},
		{"conversation attributes are no data attributes any more", plain, "GET", "/data_attributes?model=conversation", "", nil, 422, "parameter_invalid"},
		{"before 2.16 they were", plain, "GET", "/data_attributes?model=conversation", "", []string{"Intercom-Version: 2.15"}, 200, ""},
		{"a page of no rows is refused", plain, "GET", "/contacts?per_page=0", "", nil, 400, "parameter_invalid"},
		{"150 contacts fit a page", plain, "GET", "/contacts?per_page=150", "", nil, 200, ""},
		{"151 contacts do not", plain, "GET", "/contacts?per_page=151", "", nil, 400, "parameter_invalid"},
		{"150 conversations fit a page", plain, "GET", "/conversations?per_page=150", "", nil, 200, ""},
		{"151 conversations do not", plain, "GET", "/conversations?per_page=151", "", nil, 400, "parameter_invalid"},
		{"60 companies fit a page", writer, "POST", "/companies/list?per_page=60", "", nil, 200, ""},
		{"61 companies do not", writer, "POST", "/companies/list?per_page=61", "", nil, 400, "parameter_invalid"},
		{"a broken body is refused", plain, "POST", "/contacts/search", `{"query":`, nil, 400, "bad_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(t, c.s, c.method, c.path, c.body, c.header...)
			if r.status != c.status || r.code() != c.code {
				t.Errorf("got %d %q, want %d %q: %.200s", r.status, r.code(), c.status, c.code, r.body)
			}
			if c.status >= 400 && r.json["type"] != "error.list" {
				t.Errorf("an error of type %v", r.json["type"])
			}
		})
	}
}

func TestMeTellsTheWorkspace(t *testing.T) {
	s := Start(t, Options{Region: "EU", Timezone: "Asia/Tokyo", AppID: "abc123", AppName: "Acme"})
	app := get(t, s, "/me").json["app"].(map[string]any)
	for k, want := range map[string]string{"id_code": "abc123", "region": "EU", "timezone": "Asia/Tokyo", "name": "Acme"} {
		if fmt.Sprint(app[k]) != want {
			t.Errorf("app.%s is %v, want %s", k, app[k], want)
		}
	}
	if v, there := get(t, Start(t, Options{NoApp: true}), "/me").json["app"]; !there || v != nil {
		t.Errorf("app is %v, want null", v)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"region": {Region: "MOON"}, "timezone": {Timezone: "Mars/Olympus"}, "share": {OtherAppShare: 1.5}, "rate": {RateLimit: -1},
		"version": {DefaultVersion: "3.0"}, "fault": {Faults: []Fault{{Kind: "gremlins"}}}, "fault path": {Faults: []Fault{{Kind: FaultReset, Path: "["}}},
		"fault rate": {Faults: []Fault{{Kind: FaultReset, Rate: 2}}}, "fault scope": {Faults: []Fault{{Kind: FaultScopeLost}}}, "span": {Span: time.Second},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWritesAreRefusedAndCounted(t *testing.T) {
	s := Start(t, Options{Conversations: 20})
	id := livingIDs(s.Workspace, Conversations)[0]
	for _, c := range [][2]string{{"POST", "/conversations/" + id + "/reply"}, {"PUT", "/contacts/1"}, {"DELETE", "/companies/1"}, {"POST", "/contacts"}, {"POST", "/contacts/merge"}} {
		if r := ask(t, s, c[0], c[1], "{}"); r.status != 404 {
			t.Errorf("%v: %d", c, r.status)
		}
	}
	ask(t, s, "POST", "/contacts/search", `{"query":{"field":"created_at","operator":">","value":0}}`)
	if v := s.Stats().Violations; len(v) != 5 || v[1] != "PUT /contacts/1" {
		t.Errorf("violations: %q", v)
	}
}

func TestTheBudgetIsSpreadOverTenSecondWindows(t *testing.T) {
	clock := newClock()
	s := Start(t, Options{Conversations: 20, RateLimit: 60, Now: clock.now})
	for i := range 10 {
		r := get(t, s, "/me")
		if r.status != 200 || r.header.Get("X-RateLimit-Limit") != "10" || r.header.Get("X-RateLimit-Remaining") != fmt.Sprint(9-i) {
			t.Fatalf("request %d: %d, limit %s, remaining %s", i, r.status, r.header.Get("X-RateLimit-Limit"), r.header.Get("X-RateLimit-Remaining"))
		}
		if reset := r.header.Get("X-RateLimit-Reset"); reset != fmt.Sprint(clock.t.Unix()/10*10+10) {
			t.Fatalf("reset %s at %d", reset, clock.t.Unix())
		}
	}
	r := get(t, s, "/me")
	if r.status != 429 || r.code() != "rate_limit_exceeded" || r.header.Get("X-RateLimit-Remaining") != "0" {
		t.Fatalf("over the budget: %d %s", r.status, r.body)
	}
	if r := ask(t, s, "GET", "/me", "", "Authorization: Bearer wrong"); r.status != 401 || r.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("a bad token gets %d with limit %q, want 401 without", r.status, r.header.Get("X-RateLimit-Limit"))
	}
	clock.advance(5 * time.Second) // 12:00:10
	if r := get(t, s, "/me"); r.status != 200 {
		t.Errorf("the next window: %d", r.status)
	}
	st := s.Stats()
	if st.TooMany != 1 || st.MaxInWindow != 10 || st.WindowLimit != 10 || len(st.Windows) != 2 || st.Windows[0] != (WindowUse{Start: clock.t.Unix()/10*10 - 10, Used: 10, Refused: 1}) {
		t.Errorf("stats: %+v", st)
	}
}

func TestWindowFiguresAreThoseSeenInTheField(t *testing.T) {
	for perMinute, want := range map[int]int{10_000: 1667, 1_000: 167, 500: 83, 25_000: 4167} {
		if got := newLimiter(Options{RateLimit: perMinute}).limit; got != want {
			t.Errorf("%d/min: %d per window, want %d", perMinute, got, want)
		}
	}
}

func TestAnotherAppEatsItsShare(t *testing.T) {
	clock := newClock() // half-way through a window
	s := Start(t, Options{Conversations: 20, RateLimit: 600, OtherAppShare: 0.4, Now: clock.now})
	if left := get(t, s, "/me").header.Get("X-RateLimit-Remaining"); left != "79" { // 100 - 20 - 1
		t.Errorf("remaining %s, want 79", left)
	}
	clock.advance(4500 * time.Millisecond)
	if left := get(t, s, "/me").header.Get("X-RateLimit-Remaining"); left != "60" { // 100 - 38 - 2
		t.Errorf("remaining %s, want 60", left)
	}
	ok := 0
	for range 100 {
		if get(t, s, "/me").status == 200 {
			ok++
		}
	}
	if ok != 60 {
		t.Errorf("%d more requests were let through, want 60", ok)
	}
}

func TestWithoutALimitThereAreNoRateHeaders(t *testing.T) {
	if h := get(t, Start(t, Options{Conversations: 20}), "/me").header.Get("X-RateLimit-Limit"); h != "" {
		t.Errorf("limit %q", h)
	}
}
