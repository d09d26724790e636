package intercomtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// testClock is a clock that only the test moves.
type testClock struct{ t time.Time }

func (c *testClock) now() time.Time          { return c.t }
func (c *testClock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *testClock { return &testClock{t: time.Date(2026, 6, 1, 12, 0, 5, 0, time.UTC)} }

// reply is what the API said.
type reply struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

func (r reply) code() string {
	list, _ := r.json["errors"].([]any)
	if len(list) == 0 {
		return ""
	}
	code, _ := list[0].(map[string]any)["code"].(string)
	return code
}

// rows gives the objects of a list, under whatever name they come.
func (r reply) rows() []map[string]any {
	for _, k := range []string{"data", "conversations", "tickets", "companies", "contacts", "admins", "teams"} {
		if list, ok := r.json[k].([]any); ok {
			out := make([]map[string]any, 0, len(list))
			for _, v := range list {
				out = append(out, v.(map[string]any))
			}
			return out
		}
	}
	return nil
}

func (r reply) ids() []string {
	out := []string{}
	for _, o := range r.rows() {
		out = append(out, fmt.Sprint(o["id"]))
	}
	return out
}

func (r reply) next() string {
	pages, _ := r.json["pages"].(map[string]any)
	next, _ := pages["next"].(map[string]any)
	s, _ := next["starting_after"].(string)
	return s
}

func (r reply) total() int {
	n, _ := r.json["total_count"].(json.Number)
	i, _ := n.Int64()
	return int(i)
}

// ask sends one request with the right token; header lines are "Name: value", and
// an empty value removes the header.
func ask(t testing.TB, s *Server, method, path, body string, header ...string) reply {
	t.Helper()
	r, err := try(s, method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func try(s *Server, method, path, body string, header ...string) (reply, error) {
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Accept", "application/json")
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); value == "" {
			req.Header.Del(name)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	out := reply{status: res.StatusCode, header: res.Header, body: b}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	_ = d.Decode(&out.json) // some replies are meant not to be JSON
	return out, err
}

func get(t testing.TB, s *Server, path string, header ...string) reply {
	t.Helper()
	return ask(t, s, "GET", path, "", header...)
}

// walkAll pages through a list or search and gives every id in the order in
// which it came.
func walkAll(t testing.TB, s *Server, path, query string) []string {
	t.Helper()
	var ids []string
	cursor := ""
	for range 10_000 {
		var r reply
		if query == "" {
			p := path
			if cursor != "" {
				p += "&starting_after=" + strings.NewReplacer("+", "%2B", "=", "%3D").Replace(cursor)
			}
			r = get(t, s, p)
		} else {
			after := ""
			if cursor != "" {
				after = `,"starting_after":"` + cursor + `"`
			}
			r = ask(t, s, "POST", path, fmt.Sprintf(query, after))
		}
		if r.status != 200 {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		ids = append(ids, r.ids()...)
		if cursor = r.next(); cursor == "" {
			return ids
		}
	}
	t.Fatalf("%s: no end", path)
	return nil
}
