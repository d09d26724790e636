package intercom

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
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

// FuzzListings holds the scanner against encoding/json.
func FuzzListings(f *testing.F) {
	f.Add(`{"data":[{"id":"1","created_at":5}],"total_count":1,"pages":{"next":{"starting_after":"x"}}}`)
	f.Add(`{"conversations":[{"id":1,"updated_at":"9e99"}],"pages":{"next":"https://x"},"total_count":"7"}`)
	f.Add(`{"data":null,"pages":[],"total_count":-1}`)
	f.Add(`{"data":{"x":1},"pages":{"next":5}}`)
	f.Add("{ \"a\\\"b\" : [ \"]\\\\\" , {\"}\":\"\\\\\\\"\"} ] ,\n\"c\":-1.5e9, \"\\u0064ata\" : [true,null] }")
	f.Add(`[1,"2",[3],{"4":5} , 6 ]`)
	f.Fuzz(func(t *testing.T, body string) {
		l, _ := parseListing(reply{body: []byte(body)}) // must not panic, whatever it is
		for _, r := range l.rows {
			if r.ID == "" || r.CreatedAt < 0 || r.UpdatedAt < 0 {
				t.Errorf("row %+v", r.head)
			}
		}
		spliced := spliceKey([]byte(body), "data", []byte(`"new"`))
		if !json.Valid([]byte(body)) || !utf8.ValidString(body) { // encoding/json mends names that are no UTF-8
			return
		}
		var object map[string]json.RawMessage
		isObject := json.Unmarshal([]byte(body), &object) == nil && object != nil
		got := map[string]json.RawMessage{}
		if members([]byte(body), func(name string, value []byte) { got[name] = value }) != isObject {
			t.Fatalf("%q is an object: %v", body, isObject)
		}
		if isObject {
			if diff := cmp.Diff(object, got); diff != "" {
				t.Errorf("members of %q (-json +scanner):\n%s", body, diff)
			}
			if _, ok := object["data"]; ok {
				object["data"] = json.RawMessage(`"new"`)
			}
			var after map[string]json.RawMessage
			if err := json.Unmarshal(spliced, &after); err != nil {
				t.Fatalf("splicing %q made %q: %v", body, spliced, err)
			}
			if diff := cmp.Diff(object, after); diff != "" {
				t.Errorf("splicing %q (-want +got):\n%s", body, diff)
			}
		}
		var array []json.RawMessage
		isArray := json.Unmarshal([]byte(body), &array) == nil && array != nil
		all := []json.RawMessage{}
		if elements([]byte(body), func(value []byte) { all = append(all, value) }) != isArray {
			t.Fatalf("%q is an array: %v", body, isArray)
		}
		if isArray {
			if diff := cmp.Diff(array, all); diff != "" {
				t.Errorf("elements of %q (-json +scanner):\n%s", body, diff)
			}
		}
	})
}
