package intercomtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatAClientSeesOfEachFault(t *testing.T) {
	const path = "/conversations?per_page=10"
	for _, c := range []struct {
		fault Fault
		check func(r reply, err error) string // "" is right
	}{
		{Fault{Kind: Fault429}, func(r reply, _ error) string {
			if r.status != 429 || r.code() != "rate_limit_exceeded" || r.header.Get("X-RateLimit-Reset") == "" || r.header.Get("Retry-After") != "" {
				return "want 429 with a reset header"
			}
			return ""
		}},
		{Fault{Kind: Fault429, Headers: HeadersNone}, func(r reply, _ error) string {
			if r.status != 429 || r.header.Get("X-RateLimit-Reset") != "" || r.header.Get("Retry-After") != "" {
				return "want 429 without a header"
			}
			return ""
		}},
		{Fault{Kind: Fault429, Headers: HeadersRetryAfter, For: 3 * time.Second}, func(r reply, _ error) string {
			if r.status != 429 || r.header.Get("Retry-After") != "3" {
				return "want 429 with Retry-After 3"
			}
			return ""
		}},
		{Fault{Kind: FaultServerError}, status(500, "server_error")},
		{Fault{Kind: FaultServerError, Status: 503}, status(503, "server_error")},
		{Fault{Kind: FaultHTML}, func(r reply, _ error) string {
			if r.status != 504 || !strings.HasPrefix(string(r.body), "<html>") || r.header.Get("Content-Type") != "text/html" {
				return "want 504 with HTML"
			}
			return ""
		}},
		{Fault{Kind: FaultReset}, func(_ reply, err error) string {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
				return "want a reset"
			}
			return ""
		}},
		{Fault{Kind: FaultResetLate}, broken}, {Fault{Kind: FaultTruncated}, broken},
		{Fault{Kind: FaultStall, For: 30 * time.Millisecond}, func(_ reply, err error) string {
			if err == nil {
				return "want an error"
			}
			return ""
		}},
		{Fault{Kind: FaultSlow, For: time.Millisecond}, status(200, "")},
		{Fault{Kind: FaultSlowBody, Bytes: 10 << 20}, status(200, "")},
		{Fault{Kind: FaultShortLength}, unreadable}, {Fault{Kind: FaultBadJSON}, unreadable},
		{Fault{Kind: FaultBadGzip}, func(r reply, err error) string {
			if err == nil {
				return "want an error of gzip"
			}
			return ""
		}},
		{Fault{Kind: FaultEmptyBody}, func(r reply, err error) string {
			if err != nil || r.status != 200 || len(r.body) != 0 {
				return "want 200 without a body"
			}
			return ""
		}},
		{Fault{Kind: FaultTokenRevoked}, status(401, "token_revoked")},
		{Fault{Kind: FaultScopeLost, Scope: ScopeConversations}, status(403, "token_unauthorized")},
		{Fault{Kind: FaultNotFound}, status(404, "not_found")},
		{Fault{Kind: FaultClockSkew, For: time.Hour}, func(r reply, _ error) string {
			at, err := http.ParseTime(r.header.Get("Date"))
			if err != nil || at.Sub(time.Now()) < 50*time.Minute {
				return "want a Date in an hour"
			}
			return ""
		}},
	} {
		t.Run(fmt.Sprintf("%s %s", c.fault.Kind, c.fault.Headers), func(t *testing.T) {
			f := c.fault
			f.Nth, f.Path = []int{2}, "GET /conversations"
			s := Start(t, Options{Conversations: 40, RateLimit: 100_000, Faults: []Fault{f}})
			for n := 1; n <= 3; n++ {
				// On a used connection the client would try again by itself.
				r, err := try(s, "GET", path, "", "Connection: close")
				if n == 2 {
					if wrong := c.check(r, err); wrong != "" {
						t.Errorf("%s: status %d, header %v, %d bytes, error %v", wrong, r.status, r.header, len(r.body), err)
					}
				} else if err != nil || r.status != 200 || len(r.rows()) != 10 {
					t.Errorf("request %d, which is not concerned: %d %v", n, r.status, err)
				}
			}
			if n := s.Stats().Faults[f.Kind]; n < 1 {
				t.Errorf("the fault is counted %d times", n)
			}
		})
	}
}

func status(want int, code string) func(reply, error) string {
	return func(r reply, err error) string {
		if err != nil || r.status != want || r.code() != code {
			return fmt.Sprintf("want %d %s", want, code)
		}
		return ""
	}
}

func broken(_ reply, err error) string {
	if err == nil {
		return "want a body that breaks off"
	}
	return ""
}

func unreadable(r reply, err error) string {
	if err != nil || r.status != 200 || r.json != nil && len(r.rows()) > 0 || len(r.body) == 0 {
		return "want 200 with half of the JSON"
	}
	return ""
}

func TestFaultsOfPages(t *testing.T) {
	body := `{"query":{"field":"created_at","operator":">","value":0},"pagination":{"per_page":10%s},"sort":{"field":"updated_at","order":"ascending"}}`
	start := func(f Fault) *Server {
		f.Path = "/conversations/search"
		return Start(t, Options{Seed: 5, Conversations: 50, Faults: []Fault{f}})
	}
	t.Run("a repeated cursor leads to the same page", func(t *testing.T) {
		s := start(Fault{Kind: FaultRepeatedCursor, Nth: []int{2}})
		first := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, ""))
		second := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, `,"starting_after":"`+first.next()+`"`))
		if second.next() != first.next() {
			t.Error("the cursor moved on")
		}
		third := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, `,"starting_after":"`+second.next()+`"`))
		if !slices.Equal(second.ids(), third.ids()) || third.next() == second.next() {
			t.Error("the page is another one, or the loop does not end")
		}
	})
	t.Run("a stale cursor is refused", func(t *testing.T) {
		s := start(Fault{Kind: FaultStaleCursor})
		first := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, ""))
		if r := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, `,"starting_after":"`+first.next()+`"`)); r.status != 400 || r.code() != "client_error" {
			t.Errorf("%d %s", r.status, r.code())
		}
	})
	t.Run("an empty page loses no row", func(t *testing.T) {
		s := start(Fault{Kind: FaultEmptyPage, Nth: []int{1, 4}})
		sameSet(t, "walk", walkAll(t, s, "/conversations/search", body), livingIDs(s.Workspace, Conversations))
		if n := s.Stats().Faults[FaultEmptyPage]; n != 2 {
			t.Errorf("%d empty pages", n)
		}
	})
	t.Run("duplicates come on top of all rows", func(t *testing.T) {
		s := start(Fault{Kind: FaultDuplicates})
		ids := walkAll(t, s, "/conversations/search", body)
		if len(ids) != 50+5+4 {
			t.Errorf("%d rows", len(ids))
		}
		slices.Sort(ids)
		sameSet(t, "walk", slices.Compact(ids), livingIDs(s.Workspace, Conversations))
	})
	t.Run("moving rows are found at least once", func(t *testing.T) {
		s := start(Fault{Kind: FaultMovingRows, Times: 8})
		ids := walkAll(t, s, "/conversations/search", body)
		slices.Sort(ids)
		if len(ids) <= 50 {
			t.Errorf("only %d rows, none came twice", len(ids))
		}
		sameSet(t, "walk", slices.Compact(ids), livingIDs(s.Workspace, Conversations))
	})
	t.Run("rows deleted on the way do not disturb the rest", func(t *testing.T) {
		s := start(Fault{Kind: FaultDeletingRows, Times: 3})
		ids := walkAll(t, s, "/conversations/search", body)
		for _, id := range livingIDs(s.Workspace, Conversations) {
			if !slices.Contains(ids, id) {
				t.Errorf("%s is missing", id)
			}
		}
		if n := s.Ledger().Counts().Conversations; n != 47 {
			t.Errorf("%d conversations are left, want 47", n)
		}
	})
}

func TestSchedules(t *testing.T) {
	for name, c := range map[string]struct {
		fault Fault
		want  string // x is hit, . is not
	}{
		"nth":                  {Fault{Nth: []int{1, 4}}, "x..x......"},
		"from":                 {Fault{From: 8}, ".......xxx"},
		"from and to":          {Fault{From: 3, To: 5}, "..xxx....."},
		"to":                   {Fault{To: 2}, "xx........"},
		"every":                {Fault{Every: 4}, "...x...x.."},
		"times":                {Fault{Every: 2, Times: 3}, ".x.x.x...."},
		"always":               {Fault{}, "xxxxxxxxxx"},
		"never on other paths": {Fault{Path: "GET /contacts"}, ".........."},
	} {
		c.fault.Kind = FaultServerError
		s := Start(t, Options{Conversations: 20, Faults: []Fault{c.fault}})
		got := ""
		for range 10 {
			got += map[int]string{200: ".", 500: "x"}[get(t, s, "/me").status]
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestARateHitsTheSameRequestsWhateverTheirOrder(t *testing.T) {
	hit := func(seed uint64, backwards bool) []string {
		s := Start(t, Options{Seed: seed, Conversations: 400, Faults: []Fault{{Kind: FaultServerError, Rate: 0.2, Path: "/conversations/*"}}})
		ids := livingIDs(s.Workspace, Conversations)
		if backwards {
			slices.Reverse(ids)
		}
		var out []string
		for _, id := range ids {
			for range 50 { // a retry has a fresh chance
				if get(t, s, "/conversations/"+id).status == 200 {
					break
				}
				out = append(out, id)
			}
		}
		slices.Sort(out)
		return out
	}
	a, b := hit(1, false), hit(1, true)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("the order of requests matters: %s", diff)
	}
	if n := len(a); n < 60 || n > 140 { // 0.2 of 400, and retries
		t.Errorf("%d faults in 400 requests at 0.2", n)
	}
	if slices.Equal(a, hit(2, false)) {
		t.Error("another seed hits the same requests")
	}
}

func TestFaultsAsText(t *testing.T) {
	got, err := ParseFaults(`429:rate=0.01,headers=none; 5xx:nth=3|7,path=GET /conversations/*,status=503;token-revoked:from=500;
		slow-body:bytes=100,every=9,times=2,to=90,for=3s;scope-lost:scope=tickets|tags;`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Fault{
		{Kind: Fault429, Rate: 0.01, Headers: HeadersNone}, {Kind: FaultServerError, Nth: []int{3, 7}, Path: "GET /conversations/*", Status: 503},
		{Kind: FaultTokenRevoked, From: 500}, {Kind: FaultSlowBody, Bytes: 100, Every: 9, Times: 2, To: 90, For: 3 * time.Second},
		{Kind: FaultScopeLost, Scope: ScopeTickets | ScopeTags},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"429:rate", "429:rate=often", "429:colour=red", "429:headers=some", "scope-lost:scope=everything", "5xx:nth=1|x", "slow:for=3"} {
		if _, err := ParseFaults(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("429:rate=0.01,headers=none;5xx:nth=3|7")
	f.Fuzz(func(t *testing.T, spec string) {
		faults, err := ParseFaults(spec)
		if err == nil {
			w, _ := New(Options{Conversations: 1})
			_ = w.SetFaults(faults...) // may refuse, must not fall over
		}
	})
}

func FuzzSearchAndCursor(f *testing.F) {
	w, err := New(Options{Conversations: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"query":{"field":"id","operator":"=","value":"1"}}`, "WzEsIiIsMSwxXQ==")
	f.Fuzz(func(t *testing.T, body, cursor string) {
		for _, p := range []string{"/contacts/search", "/conversations/search", "/tickets/search"} {
			req, err := http.NewRequest("POST", p, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+w.opts.Token)
			req.Header.Set("Accept", "application/json")
			r := &recorder{header: http.Header{}}
			if w.ServeHTTP(r, req); r.status != 200 && r.status != 400 {
				t.Errorf("%s %q: %d", p, body, r.status)
			}
		}
		for _, k := range Kinds() {
			_, _ = w.decodeCursor(k, cursor)
			_, _ = w.find(k, cursor)
		}
	})
}
