package intercom

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestErrorsAreSortedByStatusAndCode(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   Class
	}{
		{401, "unauthorized", ClassStop},
		{401, "token_revoked", ClassStop},
		{403, "token_blocked", ClassStop},
		{401, "token_expired", ClassStop},
		{404, "token_not_found", ClassStop},
		{401, "missing_authorization", ClassStop},
		{401, "", ClassStop},
		{401, "token_unauthorized", ClassScope},
		{403, "token_unauthorized", ClassScope},
		{403, "forbidden", ClassScope},
		{403, "action_forbidden", ClassScope},
		{403, "api_plan_restricted", ClassScope},
		{403, "", ClassScope},
		{402, "", ClassScope},
		{404, "not_found", ClassGone},
		{404, "company_not_found", ClassGone},
		{410, "contact_merged", ClassGone},
		{404, "", ClassUnreadable},
		{400, "parameter_not_found", ClassRequest},
		{404, "field_not_found", ClassRequest},
		{400, "scroll_exists", ClassBusy},
		{429, "rate_limit_exceeded", ClassTemporary},
		{429, "", ClassTemporary},
		{400, "too_many_requests", ClassTemporary},
		{408, "request_timeout", ClassTemporary},
		{500, "server_error", ClassTemporary},
		{504, "", ClassTemporary},
		{599, "unheard_of", ClassTemporary},
		{400, "client_error", ClassRequest},
		{422, "data_invalid", ClassRequest},
		{400, "intercom_version_invalid", ClassRequest},
		{409, "", ClassRequest},
		{302, "", ClassRequest},
	} {
		if got := classify(c.status, c.code); got != c.want {
			t.Errorf("%d %s is %v, want %v", c.status, c.code, got, c.want)
		}
	}
}

func TestErrorBodiesOfAnyShapeAreRead(t *testing.T) {
	long := strings.Repeat("é", 1000)
	for _, c := range []struct {
		name, body, code, message, id string
	}{
		{"the documented form", `{"type":"error.list","request_id":"r-1","errors":[{"code":"not_found","message":"User Not Found"}]}`, "not_found", "User Not Found", "r-1"},
		{"no request id", `{"type":"error.list","request_id":null,"errors":[{"code":"c"}]}`, "c", "", "from-header"},
		{"no errors", `{"type":"error.list","errors":[]}`, "", "", "from-header"},
		{"errors of another type", `{"errors":{"code":"x"},"request_id":5}`, "", "", "5"},
		{"a number as code", `{"errors":[{"code":404,"message":null}]}`, "404", "", "from-header"},
		{"HTML", `<html>504</html>`, "", "", "from-header"},
		{"nothing", ``, "", "", "from-header"},
		{"control characters", `{"errors":[{"code":"a\nb","message":"\u001b[31mred\u0000"}]}`, "a b", "[31mred", "from-header"},
		{"a long message", `{"errors":[{"code":"c","message":"` + long + `"}]}`, "c", long[:300] + "…", "from-header"},
	} {
		e := parseError(404, http.Header{"X-Request-Id": {"from-header"}}, []byte(c.body))
		if e.Code != c.code || e.Message != c.message || e.RequestID != c.id {
			t.Errorf("%s: code %q, message %q, request %q", c.name, e.Code, e.Message, e.RequestID)
		}
	}
}

func TestTheSurvivorIsReadFromTheLink(t *testing.T) {
	for link, want := range map[string]string{
		`</contacts/63a>; rel="canonical"`:                            "63a",
		`<https://api.intercom.io/contacts/63a>;rel=canonical`:        "63a",
		`</contacts/9>; rel="next", </contacts/63a>; rel="canonical"`: "63a",
		`</contacts/63a>; title="x"; rel="canonical"`:                 "63a",
		`</contacts/63a>`:                        "",
		`</contacts/63a/notes>; rel="canonical"`: "",
		`</companies/63a>; rel="canonical"`:      "",
		`/contacts/63a; rel="canonical"`:         "",
		``:                                       "",
	} {
		if got := canonicalContact([]string{link}); got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}

func TestRetryAfterInBothForms(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"7", "", 7 * time.Second},
		{"0", "", 0},
		{"-3", "", 0},
		{"soon", "", 0},
		{"99999999", "", time.Hour},
		{"Thu, 01 Jan 2026 00:00:30 GMT", "", 30 * time.Second},
		{"Thu, 01 Jan 2026 01:00:30 GMT", "Thu, 01 Jan 2026 01:00:00 GMT", 30 * time.Second},
	} {
		h := http.Header{"Retry-After": {c.value}, "Date": {c.date}}
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.value, got, c.want)
		}
	}
}

func FuzzErrorBodies(f *testing.F) {
	f.Add(404, `{"type":"error.list","request_id":"r","errors":[{"code":"not_found","message":"m","field":"f"}]}`, `</contacts/1>; rel="canonical"`)
	f.Add(504, "<html>", "")
	f.Add(410, `{"errors":[null]}`, "<>;rel=canonical,,<")
	f.Add(200, "[]", "\xff")
	f.Fuzz(func(t *testing.T, status int, body, link string) {
		e := parseError(status, http.Header{"Link": {link}}, []byte(body))
		text := e.Error()
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x1b\x00") || len(text) > 1000 {
			t.Errorf("the error's text is not fit for a log: %q", text)
		}
	})
}

func FuzzListings(f *testing.F) {
	f.Add(`{"data":[{"id":"1","created_at":5}],"total_count":1,"pages":{"next":{"starting_after":"x"}}}`)
	f.Add(`{"conversations":[{"id":1,"updated_at":"9e99"}],"pages":{"next":"https://x"},"total_count":"7"}`)
	f.Add(`{"data":null,"pages":[],"total_count":-1}`)
	f.Add(`{"data":{"x":1},"pages":{"next":5}}`)
	f.Fuzz(func(t *testing.T, body string) {
		l, err := parseListing(reply{body: []byte(body)})
		if err != nil {
			return
		}
		for _, r := range l.rows {
			if r.ID == "" || r.CreatedAt < 0 || r.UpdatedAt < 0 {
				t.Errorf("row %+v", r.head)
			}
		}
		for _, key := range []string{"data", "pages", "nothing"} {
			if out := spliceKey([]byte(body), key, []byte("null")); len(out) == 0 && len(body) > 0 {
				t.Errorf("splicing %q emptied %q", key, body)
			}
		}
	})
}
