package intercom_test

import (
	"errors"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

func TestFetchReadsOneObject(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	for _, kind := range record.Kinds {
		id := ledgerIDs(s, kind)[5]
		o, err := c.Fetch(t.Context(), kind, id)
		if err != nil {
			t.Fatal(err)
		}
		if o.Kind != kind || o.ID != id || o.Gone != "" || len(o.Body) == 0 || o.FetchedAt.IsZero() || o.APIVersion != "2.16" ||
			o.Request != "GET /"+kind.Stream()+"/"+id {
			t.Errorf("%+v is not the whole object", o)
		}
		if err := s.Delete(intercomtest.Kind(kind.Stream()), id); err != nil {
			t.Fatal(err)
		}
		if o, err = c.Fetch(t.Context(), kind, id); err != nil || o.Gone != record.GoneDeleted || o.ID != id || o.FetchedAt.IsZero() {
			t.Errorf("a deleted %s is %+v, %v; want a tombstone", kind, o, err)
		}
	}
}

func TestFetchFollowsMergesToTheSurvivor(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	var ids []string
	for contact := range s.Ledger().Contacts() {
		if contact.Role == "user" {
			ids = append(ids, contact.ID)
		}
	}
	for i := range 5 {
		if err := s.MergeContacts(ids[i], ids[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	o, err := c.Fetch(t.Context(), record.KindContact, ids[0])
	if err != nil || o.Gone != record.GoneMerged || o.MergedInto != ids[5] {
		t.Errorf("%+v, %v; want merged into %s", o, err, ids[5])
	}
}

func TestALongChainOfMergesIsFollowed(t *testing.T) {
	c, n := answers(t, func(w http.ResponseWriter, r *http.Request) {
		next := map[string]string{"/contacts/a": "b", "/contacts/b": "c", "/contacts/c": "d"}[r.URL.Path]
		if next == "" {
			io.WriteString(w, `{"id":"d"}`)
			return
		}
		w.Header().Set("Link", "</contacts/"+next+`>; rel="canonical"`)
		w.WriteHeader(http.StatusGone)
		io.WriteString(w, `{"type":"error.list","errors":[{"code":"contact_merged"}]}`)
	})
	o, err := c.Fetch(t.Context(), record.KindContact, "a")
	if err != nil || o.ID != "a" || o.Gone != record.GoneMerged || o.MergedInto != "d" || n.Load() != 4 {
		t.Errorf("%+v, %v after %d requests; want merged into d after 4", o, err, n.Load())
	}
}

func TestAnAnswerOfAnotherObjectIsRejected(t *testing.T) {
	c, _ := answers(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"id":"8"}`) })
	row := record.Object{Kind: record.KindConversation, ID: "7", Body: []byte(`{"id":"7"}`)}
	result, err := intercom.NewDetails(c, intercom.DetailOptions{}).Process(t.Context(), []record.Object{row})
	if err != nil || len(result.Items) != 0 || len(result.Rejects) != 1 || !strings.Contains(result.Rejects[0].Reason, `another object: id "8"`) {
		t.Errorf("%+v, %v; want a reject", result, err)
	}
}

func TestNoIdReachesAnotherPath(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	for _, id := range []string{"", "..", "a/b", "deleted?x", "1#", "%2e%2e", "a b", "é", strings.Repeat("1", 200)} {
		_, err := c.Fetch(t.Context(), record.KindConversation, id)
		if class, ok := intercom.ClassOf(err); !ok || class != intercom.ClassRequest {
			t.Errorf("id %q: error %v, want a refusal", id, err)
		}
	}
	if n := s.Stats().Requests; n > 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestConfirmTellsWhatIsGoneFromWhatWasMissed(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Contacts: 400, Conversations: 20})
	c := connect(t, s)
	ids := ledgerIDs(s, record.KindContact)[:320]
	gone := map[string]string{}
	for i, id := range ids {
		switch {
		case i%7 == 0:
			if err := s.Delete(intercomtest.Contacts, id); err != nil {
				t.Fatal(err)
			}
			gone[id] = "deleted "
		case i == 1:
			into := ledgerIDs(s, record.KindContact)[200]
			if err := s.MergeContacts(id, into); err != nil {
				t.Fatal(err)
			}
			gone[id] = "merged " + into
		}
	}
	var seq iter.Seq2[string, error] = func(yield func(string, error) bool) {
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
	w := mustWalk(t, intercom.NewConfirm(c, record.KindContact, seq), nil)
	if diff := cmp.Diff(gone, w.gone()); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
	if len(w.live()) != len(ids)-len(gone) || w.pages != 3 {
		t.Errorf("%d live in %d pages, want %d in 3", len(w.live()), w.pages, len(ids)-len(gone))
	}
	if rest := mustWalk(t, intercom.NewConfirm(c, record.KindContact, seq), w.cursors[1]); len(rest.objects) != 20 {
		t.Errorf("%d objects after the second page, want 20", len(rest.objects))
	}
	broken := func(yield func(string, error) bool) { yield("", errors.New("the database is gone")) }
	if _, err := walk(t.Context(), intercom.NewConfirm(c, record.KindContact, broken), nil); err == nil || !strings.Contains(err.Error(), "database is gone") {
		t.Errorf("error %v, want that of the ids", err)
	}
}

func TestDeletedConversationsAreListedBackToSince(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var clock atomic.Pointer[time.Time]
	clock.Store(&now)
	s := intercomtest.Start(t, small(intercomtest.Options{Now: func() time.Time { return *clock.Load() }}))
	c := connect(t, s)
	s.DeleteRandom(intercomtest.Conversations, 10)
	since := now.Add(time.Hour)
	clock.Store(&since)
	// Tickets that are conversations go with them.
	deleted := s.DeleteRandom(intercomtest.Conversations, 80)
	w := mustWalk(t, intercom.NewDeleted(c, intercom.DeletedOptions{Since: since}), nil)
	if diff := cmp.Diff(sorted(deleted), slices.Compact(sorted(keys(w.gone())))); diff != "" {
		t.Errorf("(-deleted +listed):\n%s", diff)
	}
	for _, o := range w.objects {
		if o.Gone != record.GoneDeleted || o.GoneAt.Before(since) {
			t.Errorf("%+v is no tombstone of now", o)
		}
	}
	all := mustWalk(t, intercom.NewDeleted(c, intercom.DeletedOptions{}), nil)
	want := 0
	for d := range s.Ledger().Deleted() {
		if d.Kind == intercomtest.Conversations {
			want++
		}
	}
	if n := len(all.gone()); n != want || n < 90 {
		t.Errorf("%d deletions in all, want %d", n, want)
	}
	if rest := mustWalk(t, intercom.NewDeleted(c, intercom.DeletedOptions{}), all.cursors[0]); len(rest.objects) != want-60 {
		t.Errorf("%d after the first page, want %d", len(rest.objects), want-60)
	}
	old := connect(t, s, func(o *intercom.Options) { o.Version = "2.15" })
	if w := mustWalk(t, intercom.NewDeleted(old, intercom.DeletedOptions{}), nil); w.counts["intercom/conversations/no list of deletions"] != 1 || len(w.objects) > 0 {
		t.Errorf("version 2.15: %+v, want nothing and a note", w)
	}
}

func keys(m map[string]string) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	return list
}

func TestCheckReadsTheWorkspaceWithFewRequests(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Region: "EU", AppID: "abc123", AppName: "Shop", Timezone: "Europe/Vienna"})
	c, err := intercom.New("EU", s.Token, fast(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	access, err := c.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := record.Workspace{ID: "abc123", Name: "Shop", Region: "eu", Timezone: "Europe/Vienna"}
	if diff := cmp.Diff(want, access.Workspace); diff != "" || len(access.Missing) > 0 || len(access.Warnings) > 0 {
		t.Errorf("%+v\n%s", access, diff)
	}
	if n := s.Stats().Requests; n != 5 {
		t.Errorf("%d requests, want 5", n)
	}
	// The probe for companies leaves the scroll free.
	if _, err := walk(t.Context(), intercom.NewCompanies(c, intercom.CompanyOptions{}), nil); err != nil {
		t.Error(err)
	}
}

func TestCheckRefusesAnotherRegion(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Region: "EU"})
	_, err := connect(t, s).Check(t.Context())
	var e *intercom.RegionError
	if !errors.As(err, &e) || e.Configured != "us" || e.Actual != "eu" || !strings.Contains(err.Error(), "--region eu") {
		t.Errorf("error %v, want both regions named", err)
	}
}

func TestCheckWithoutAnAppWarns(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{NoApp: true})
	access, err := connect(t, s).Check(t.Context())
	if err != nil || len(access.Warnings) != 1 || access.Workspace.Region != "us" {
		t.Errorf("%+v, %v; want a warning", access, err)
	}
}

func TestCheckOfABadToken(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{})
	c, err := intercom.New("us", "not-the-token", fast(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Check(t.Context())
	var e *intercom.Error
	if !errors.As(err, &e) || e.Class != intercom.ClassStop || e.Status != 401 || e.Code != "unauthorized" || e.RequestID == "" || e.Hint == "" {
		t.Errorf("error %v, want a refused token", err)
	}
	if n := s.Stats().Requests; n != 1 {
		t.Errorf("%d requests, want 1: a dead token is not tried again", n)
	}
}

func TestReferenceNamesWhatObjectsNumber(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{})
	c := connect(t, s)
	ref, warnings, err := c.Reference(t.Context())
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	sizes := map[string]int{
		"admins": len(ref.Admins), "teams": len(ref.Teams), "tags": len(ref.Tags), "segments": len(ref.Segments),
		"ticket types": len(ref.TicketTypes), "ticket states": len(ref.TicketStates), "attributes": len(ref.Attributes),
	}
	for name, n := range sizes {
		if n == 0 {
			t.Errorf("no %s", name)
		}
	}
	models := map[string]int{}
	for name := range ref.Attributes {
		model, _, _ := strings.Cut(name, ".")
		models[model]++
	}
	if len(models) != 3 {
		t.Errorf("attributes of %v, want three models", models)
	}
	for id, state := range ref.TicketStates {
		if state.Category == "" || state.InternalLabel == "" {
			t.Errorf("ticket state %s is %+v", id, state)
		}
	}
	for id, admin := range ref.Admins {
		if admin.Name == "" || !strings.Contains(admin.Email, "@") {
			t.Errorf("admin %s is %+v", id, admin)
		}
	}
}

func TestReferenceWithoutPermissionIsAWarning(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Scopes: intercomtest.ScopeRead &^ intercomtest.ScopeTags &^ intercomtest.ScopeAdmins})
	ref, warnings, err := connect(t, s).Reference(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Join(warnings, "\n")
	if len(ref.Tags) > 0 || !strings.Contains(told, "tags could not be read") || len(ref.Segments) == 0 {
		t.Errorf("%d tags, %d segments, warnings:\n%s", len(ref.Tags), len(ref.Segments), told)
	}
}

func TestPlanCountsWithFewRequests(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 1200, Contacts: 800, Companies: 230, Tickets: 160, RateLimit: 10_000})
	c := connect(t, s)
	p, err := c.Plan(t.Context(), intercom.PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[record.Kind][2]int64{
		record.KindCompany: {230, 4}, record.KindContact: {800, 6}, record.KindConversation: {1200, 1208}, record.KindTicket: {160, 2},
	}
	for _, stream := range p.Streams {
		if int64(stream.Objects) != want[stream.Kind][0] || stream.Requests != want[stream.Kind][1] || stream.PerRow < 100 ||
			stream.Bytes != int64(stream.Objects*stream.PerRow) {
			t.Errorf("%+v, want %v objects and requests", stream, want[stream.Kind])
		}
	}
	if n := s.Stats().Requests; n != p.Asked || n > 20 {
		t.Errorf("%d requests, %d told", n, p.Asked)
	}
	if p.Budget < 9_990 || p.Budget > 10_010 || p.Duration < 7*time.Second || p.Duration > 8*time.Second {
		t.Errorf("budget %d, duration %v", p.Budget, p.Duration)
	}
	// The estimate holds for the walk that follows.
	before := s.Stats().Requests
	for _, kind := range record.Kinds {
		if _, err := whole(t, c, source(c, kind), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Requests - before; float64(n) > 1.1*float64(p.Requests) || n < p.Requests*9/10 {
		t.Errorf("planned %d requests, took %d", p.Requests, n)
	}
}

func TestPlanLeavesAScrollThatIsInUseAlone(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{})
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultScrollHeld, Path: "/companies/scroll"}); err != nil {
		t.Fatal(err)
	}
	p, err := connect(t, s).Plan(t.Context(), intercom.PlanOptions{Kinds: []record.Kind{record.KindCompany}})
	if err != nil || p.Streams[0].Objects != -1 || !strings.Contains(p.Streams[0].Note, "scroll_exists") {
		t.Errorf("%+v, %v; want no count and a note", p, err)
	}
}

func TestAScrollInUseIsWaitedForNoLongerThanAllowed(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{})
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultScrollHeld, Path: "/companies/scroll"}); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s, func(o *intercom.Options) { o.ScrollPatience = 50 * time.Millisecond })
	_, err := walk(t.Context(), intercom.NewCompanies(c, intercom.CompanyOptions{}), nil)
	if class, _ := intercom.ClassOf(err); class != intercom.ClassBusy {
		t.Errorf("error %v, want that the scroll is in use", err)
	}
}

// TestAScrollThatEndsWith404 is what some have seen of the real API; once it may be a fault.
func TestAScrollThatEndsWith404(t *testing.T) {
	for _, always := range []bool{true, false} {
		s := intercomtest.Start(t, small(intercomtest.Options{ScrollIdle: 10 * time.Millisecond}))
		rounds, calls := 0, 0
		f := front{handle: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if r.URL.Path != "/companies/scroll" {
				return false
			}
			calls++
			if r.URL.RawQuery == "" {
				rounds++
				calls = 1
			}
			// 90 companies are four pages of 25: the fifth call would be the empty end.
			if calls < 5 && (always || calls < 3 || rounds > 1) || calls == 5 && !always {
				return false
			}
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"type":"error.list","errors":[{"code":"not_found","message":"scroll parameter not found"}]}`)
			return true
		}}.start(t, s)
		c := connect(t, f, func(o *intercom.Options) {
			o.Backoff, o.ScrollWait = 20*time.Millisecond, 400*time.Millisecond
		})
		w := mustWalk(t, intercom.NewCompanies(c, intercom.CompanyOptions{}), nil)
		if diff := cmp.Diff(ledgerIDs(s, record.KindCompany), sorted(w.live())); diff != "" {
			t.Errorf("always %v, counts %v (-ledger +walked):\n%s", always, w.counts, diff)
		}
		if ended := w.counts["intercom/companies/scroll ended by 404"] == 1; ended != always {
			t.Errorf("always %v: counts %v", always, w.counts)
		}
	}
}

func TestTheScrollIsReadWithoutPausesHoweverSlowTheConsumer(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{ScrollIdle: 300 * time.Millisecond}))
	dir := t.TempDir()
	c := connect(t, s, func(o *intercom.Options) { o.SpoolDir = dir })
	n := 0
	for page, err := range intercom.NewCompanies(c, intercom.CompanyOptions{}).Pages(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Items)
		if s.Stats().Endpoints["GET /companies/scroll"] != 5 {
			t.Fatal("the scroll goes on while pages are consumed")
		}
		if left := list(t, dir); len(left) > 0 {
			t.Errorf("files in the spool's folder: %v", left)
		}
	}
	if n != 90 {
		t.Errorf("%d companies, want 90", n)
	}
}

func TestCompaniesThatAScrollRepeatsComeOnce(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	f := front{edit: func(r *http.Request, body []byte) []byte {
		return edited(body, func(doc map[string]any) {
			if rows, _ := doc["data"].([]any); len(rows) > 0 {
				doc["data"] = append(rows, rows[0])
			}
		})
	}}.start(t, s)
	w := mustWalk(t, source(connect(t, f), record.KindCompany), nil)
	if diff := cmp.Diff(ledgerIDs(s, record.KindCompany), sorted(w.live())); diff != "" || w.counts["intercom/companies/listed twice"] != 4 {
		t.Errorf("counts %v (-ledger +walked):\n%s", w.counts, diff)
	}
}

func TestASpoolThatCannotBeWrittenIsAnError(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s, func(o *intercom.Options) { o.SpoolDir = t.TempDir() + "/not there" })
	_, err := walk(t.Context(), intercom.NewCompanies(c, intercom.CompanyOptions{}), nil)
	if err == nil || !strings.Contains(err.Error(), "temporary file") {
		t.Errorf("error %v", err)
	}
	if n := s.Stats().Requests; n > 0 {
		t.Errorf("%d requests: the scroll was opened all the same", n)
	}
}
