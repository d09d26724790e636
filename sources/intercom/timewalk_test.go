package intercom_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// front puts a handler before a simulated workspace, for what the simulator cannot do: handle gets the
// request's body and may answer by itself (true), and edit may change the reply's body.
type front struct {
	handle func(w http.ResponseWriter, r *http.Request, body []byte) bool
	ask    func(r *http.Request, body []byte) []byte
	edit   func(r *http.Request, body []byte) []byte
}

func (f front) start(tb testing.TB, s *intercomtest.Server) *intercomtest.Server {
	tb.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if f.handle != nil && f.handle(w, r, body) {
			return
		}
		if f.ask != nil {
			body = f.ask(r, body)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		recorded := httptest.NewRecorder()
		s.ServeHTTP(recorded, r)
		reply := recorded.Body.Bytes()
		if f.edit != nil && recorded.Code == http.StatusOK {
			reply = f.edit(r, reply)
		}
		for k, v := range recorded.Header() {
			if k != "Content-Length" {
				w.Header()[k] = v
			}
		}
		w.WriteHeader(recorded.Code)
		w.Write(reply)
	})
	server := httptest.NewServer(h)
	tb.Cleanup(server.Close)
	return &intercomtest.Server{Workspace: s.Workspace, URL: server.URL, Token: s.Token}
}

// edited decodes a JSON object, changes it and encodes it again.
func edited(body []byte, change func(doc map[string]any)) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc map[string]any
	if d.Decode(&doc) != nil {
		return body
	}
	change(doc)
	out, _ := json.Marshal(doc)
	return out
}

func isSearch(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/conversations/search") }

// manyPages walks conversations in pages of 5, so that windows are many.
func manyPages(c *intercom.Client) pipeline.Source[record.Object] {
	return intercom.NewConversations(c, intercom.StreamOptions{PageSize: 5})
}

func TestWindowsCostHardlyMoreThanTheirPages(t *testing.T) {
	for _, inclusive := range []bool{false, true} {
		s := intercomtest.Start(t, intercomtest.Options{Conversations: 4000, InclusiveBounds: inclusive})
		w := mustWalk(t, manyPages(connect(t, s)), nil)
		if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(w.live())); diff != "" {
			t.Errorf("inclusive %v (-ledger +walked):\n%s", inclusive, diff)
		}
		requests := s.Stats().Endpoints["POST /conversations/search"]
		t.Log(requests, "requests for", 4000/5, "pages,", w.counts)
		if requests > 4000/5*115/100 {
			t.Errorf("%d requests for 800 pages", requests)
		}
		if len(w.counts) > 0 {
			t.Errorf("counts %v, want none", w.counts)
		}
	}
}

func TestNoWindowIsPagedDeeply(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 3000})
	deepest := 0
	f := front{edit: func(r *http.Request, body []byte) []byte {
		var page struct{ Pages struct{ Page int } }
		if isSearch(r) && json.Unmarshal(body, &page) == nil {
			deepest = max(deepest, page.Pages.Page)
		}
		return body
	}}.start(t, s)
	mustWalk(t, manyPages(connect(t, f)), nil)
	if deepest > 25 || deepest < 5 {
		t.Errorf("the deepest page was %d, want up to 25", deepest)
	}
}

// crowded is a workspace with thousands of conversations made in one second, and others before it.
func crowded(t *testing.T, inclusive bool) *intercomtest.Server {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	s := intercomtest.Start(t, intercomtest.Options{
		Conversations: 300, InclusiveBounds: inclusive,
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
	})
	contact := ledgerIDs(s, record.KindContact)[0]
	for i := range 2500 {
		if i == 100 || i == 2400 {
			mu.Lock()
			now = now.Add(time.Second)
			mu.Unlock()
		}
		if _, err := s.CreateConversation(contact, "all at once"); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	return s
}

func TestThousandsInOneSecondAreWalkedAndResumed(t *testing.T) {
	for _, inclusive := range []bool{false, true} {
		s := crowded(t, inclusive)
		o := intercom.StreamOptions{PageSize: 20, Until: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)}
		full := mustWalk(t, intercom.NewConversations(connect(t, s), o), nil)
		if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(full.live())); diff != "" {
			t.Errorf("inclusive %v (-ledger +walked):\n%s", inclusive, diff)
		}
		if requests := s.Stats().Endpoints["POST /conversations/search"]; requests > 160 {
			t.Errorf("%d requests for 140 pages", requests)
		}
		// Killed after every 40th page.
		var cursor pipeline.Cursor
		var ids []string
		for more := true; more; {
			more = false
			n := 0
			for page, err := range intercom.NewConversations(connect(t, s), o).Pages(t.Context(), cursor) {
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Items {
					ids = append(ids, o.ID)
				}
				cursor = page.Cursor
				if n++; n == 40 {
					more = true
					break
				}
			}
		}
		if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(ids)); diff != "" {
			t.Errorf("inclusive %v, killed now and then (-ledger +walked):\n%s", inclusive, diff)
		}
	}
}

func TestASearchThatIgnoresTheSortLosesNothing(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 700})
	f := front{ask: func(r *http.Request, body []byte) []byte {
		return edited(body, func(doc map[string]any) { delete(doc, "sort") })
	}}.start(t, s)
	w := mustWalk(t, manyPages(connect(t, f)), nil)
	if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(w.live())); diff != "" {
		t.Errorf("(-ledger +walked):\n%s", diff)
	}
	var cursor pipeline.Cursor
	found := map[string]bool{}
	for i, cursor2 := range w.cursors {
		if i%17 != 0 {
			continue
		}
		cursor = cursor2
		for _, id := range mustWalk(t, manyPages(connect(t, f)), cursor).live() {
			found[id] = true
		}
		for _, id := range w.objectsOfPages(t, manyPages(connect(t, f)), i+1) {
			found[id] = true
		}
		if len(found) != 700 {
			t.Fatalf("resumed after page %d: %d found", i+1, len(found))
		}
		clear(found)
	}
}

func TestASearchWithoutTotalsLosesNothing(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 700})
	deepest := 0
	f := front{edit: func(r *http.Request, body []byte) []byte {
		var page struct{ Pages struct{ Page int } }
		if isSearch(r) && json.Unmarshal(body, &page) == nil {
			deepest = max(deepest, page.Pages.Page)
		}
		return edited(body, func(doc map[string]any) { delete(doc, "total_count") })
	}}.start(t, s)
	w := mustWalk(t, manyPages(connect(t, f)), nil)
	if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(w.live())); diff != "" {
		t.Errorf("(-ledger +walked):\n%s", diff)
	}
	if deepest > 50 {
		t.Errorf("the deepest page was %d, want up to 50", deepest)
	}
}

func TestEmptyPagesWithoutEndAreAnError(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{})
	n := 0
	f := front{handle: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if !isSearch(r) {
			return false
		}
		n++
		fmt.Fprintf(w, `{"conversations":[],"total_count":9,"pages":{"next":{"starting_after":"c%d"}}}`, n)
		return n < 2000
	}}.start(t, s)
	_, err := walk(t.Context(), manyPages(connect(t, f)), nil)
	if class, _ := intercom.ClassOf(err); class != intercom.ClassTemporary || n > 500 {
		t.Errorf("error %v after %d requests", err, n)
	}
}

// losing has the search lose the rows that pick names, as pages of moving rows do.
func losing(t *testing.T, s *intercomtest.Server, pick func(id string) bool) *intercomtest.Server {
	return front{edit: func(r *http.Request, body []byte) []byte {
		if !isSearch(r) {
			return body
		}
		return edited(body, func(doc map[string]any) {
			rows, _ := doc["conversations"].([]any)
			doc["conversations"] = slices.DeleteFunc(rows, func(row any) bool { return pick(row.(map[string]any)["id"].(string)) })
		})
	}}.start(t, s)
}

func TestRowsThatAPageLostAreFoundByListingAgain(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 300, Oddities: -1})
	lost := map[string]bool{}
	for _, id := range ledgerIDs(s, record.KindConversation)[100:120] {
		lost[id] = true
	}
	var mu sync.Mutex
	f := losing(t, s, func(id string) bool {
		mu.Lock()
		defer mu.Unlock()
		first := lost[id]
		lost[id] = false
		return first
	})
	w := mustWalk(t, manyPages(connect(t, f)), nil)
	if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(w.live())); diff != "" {
		t.Errorf("(-ledger +walked):\n%s", diff)
	}
	if w.counts["intercom/conversations/window listed again: short"] == 0 || w.counts["intercom/conversations/short"] != 0 {
		t.Errorf("counts %v, want a window listed again and nothing short", w.counts)
	}
}

func TestRowsThatStayLostAreCounted(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 300, Oddities: -1})
	lost := ledgerIDs(s, record.KindConversation)[100:120]
	f := losing(t, s, func(id string) bool { return slices.Contains(lost, id) })
	w := mustWalk(t, manyPages(connect(t, f)), nil)
	if n := w.counts["intercom/conversations/short"]; n != 20 || len(w.live()) != 280 {
		t.Errorf("%d objects, counts %v, want 280 and 20 short", len(w.live()), w.counts)
	}
}

// TestACrashWhileAWindowIsShort: the run that finds a window short dies, at any page; the next one must still find
// what the first listing lost.
func TestACrashWhileAWindowIsShort(t *testing.T) {
	for crash := 1; crash < 80; crash += 3 {
		s := intercomtest.Start(t, intercomtest.Options{Conversations: 100, Oddities: -1})
		lost := map[string]bool{}
		for _, id := range ledgerIDs(s, record.KindConversation)[10:60] {
			lost[id] = true
		}
		var mu sync.Mutex
		f := losing(t, s, func(id string) bool {
			mu.Lock()
			defer mu.Unlock()
			first := lost[id]
			lost[id] = false
			return first
		})
		var cursor pipeline.Cursor
		found := map[string]bool{}
		n := 0
		for page, err := range manyPages(connect(t, f)).Pages(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Items {
				found[o.ID] = true
			}
			cursor = page.Cursor
			if n++; n == crash {
				break
			}
		}
		for _, id := range mustWalk(t, manyPages(connect(t, f)), cursor).live() {
			found[id] = true
		}
		if len(found) != 100 {
			t.Fatalf("crash after page %d: %d of 100 were found", crash, len(found))
		}
	}
}

func TestConversationsAreListedWhereSearchIsRefused(t *testing.T) {
	for _, status := range []int{400, 404} {
		s := intercomtest.Start(t, small(intercomtest.Options{}))
		f := front{handle: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !isSearch(r) {
				return false
			}
			w.WriteHeader(status)
			io.WriteString(w, `{"type":"error.list","request_id":null,"errors":[{"code":"not_found","message":"User Not Found"}]}`)
			return true
		}}.start(t, s)
		w := mustWalk(t, manyPages(connect(t, f)), nil)
		if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(w.live())); diff != "" {
			t.Errorf("(-ledger +walked):\n%s", diff)
		}
		rest := mustWalk(t, manyPages(connect(t, f)), w.cursors[5])
		if n := len(rest.live()) + len(w.objectsOfPages(t, manyPages(connect(t, f)), 6)); n != 100 {
			t.Errorf("resumed after page 6: %d objects in all, want 100", n)
		}
	}
}

func TestChangedConversationsAreThoseSinceAndNoOthers(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	since, err := c.ServerTime(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	touched := sorted(s.TouchRandom(intercomtest.Conversations, 37))
	o := intercom.StreamOptions{PageSize: 5, Since: since, Until: since.Add(time.Hour)}
	w := mustWalk(t, intercom.NewConversations(c, o), nil)
	if diff := cmp.Diff(slices.Compact(touched), sorted(w.live())); diff != "" {
		t.Errorf("(-touched +walked):\n%s", diff)
	}
}

func TestASampleStopsTheWalk(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	for _, src := range []pipeline.Source[record.Object]{
		intercom.NewContacts(c, intercom.StreamOptions{Sample: 17, PageSize: 5}),
		intercom.NewConversations(c, intercom.StreamOptions{Sample: 17, PageSize: 5}),
		intercom.NewTickets(c, intercom.StreamOptions{Sample: 17, PageSize: 5}),
		intercom.NewCompanies(c, intercom.CompanyOptions{Sample: 17}),
	} {
		w := mustWalk(t, src, nil)
		if n := len(w.live()); n != 17 {
			t.Errorf("%s: %d objects, want 17", src.Name(), n)
		}
		if more := mustWalk(t, src, w.cursors[len(w.cursors)-1]); more.pages > 0 {
			t.Errorf("%s goes on after the sample", src.Name())
		}
	}
}
