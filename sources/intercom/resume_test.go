package intercom_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// onePage walks a single page, as a run that is killed after each commit does.
func onePage(tb testing.TB, s pipeline.Source[record.Object], from pipeline.Cursor) (page pipeline.Page[record.Object], more bool) {
	tb.Helper()
	for page, err := range s.Pages(tb.Context(), from) {
		if err != nil {
			tb.Fatalf("walk %s from %q: %v", s.Name(), from, err)
		}
		return page, true
	}
	return page, false
}

func TestEveryStreamResumesFromEveryCursor(t *testing.T) {
	for _, inclusive := range []bool{false, true} {
		s := intercomtest.Start(t, small(intercomtest.Options{InclusiveBounds: inclusive}))
		for _, kind := range record.Kinds {
			unbroken := mustWalk(t, paged(connect(t, s), kind), nil)
			committed := []string{}
			for i, cursor := range unbroken.cursors {
				// Each resumed run is a process of its own, which knows nothing but the cursor.
				rest := mustWalk(t, paged(connect(t, s), kind), cursor)
				before := unbroken.objectsOfPages(t, paged(connect(t, s), kind), i+1)
				got := sorted(slices.Concat(before, rest.live()))
				if kind == record.KindCompany { // begins again from the top, and a load is idempotent
					got = slices.Compact(got)
				}
				if diff := cmp.Diff(ledgerIDs(s, kind), got); diff != "" {
					t.Errorf("%s resumed after page %d from %q (-ledger +walked):\n%s", kind.Stream(), i+1, cursor, diff)
				}
				committed = before
			}
			if len(committed) == 0 {
				t.Errorf("%s: nothing was walked", kind.Stream())
			}
			if again := mustWalk(t, paged(connect(t, s), kind), unbroken.cursors[len(unbroken.cursors)-1]); again.pages != 0 {
				t.Errorf("%s: %d pages behind the last one", kind.Stream(), again.pages)
			}
		}
	}
}

// objectsOfPages are the ids of the first n pages of the walk.
func (w walked) objectsOfPages(tb testing.TB, s pipeline.Source[record.Object], n int) []string {
	var ids []string
	for page, err := range s.Pages(tb.Context(), nil) {
		if err != nil {
			tb.Fatal(err)
		}
		for _, o := range page.Items {
			if o.Gone == "" {
				ids = append(ids, o.ID)
			}
		}
		if n--; n == 0 {
			break
		}
	}
	return ids
}

// TestAWalkThatIsKilledAfterEachPage lives from cursor to cursor while the workspace changes: whatever
// lives at the end and was there at the start must have been met.
func TestAWalkThatIsKilledAfterEachPageWhileRowsMove(t *testing.T) {
	for _, kind := range []record.Kind{record.KindContact, record.KindConversation, record.KindTicket} {
		for seed := range uint64(3) {
			s := intercomtest.Start(t, small(intercomtest.Options{Seed: seed}))
			if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultMovingRows}, intercomtest.Fault{Kind: intercomtest.FaultDeletingRows, Rate: 0.3}); err != nil {
				t.Fatal(err)
			}
			var cursor pipeline.Cursor
			found := map[string]bool{}
			for pages := 0; ; pages++ {
				if pages > 300 {
					t.Fatalf("%s: no end after %d pages", kind.Stream(), pages)
				}
				page, more := onePage(t, paged(connect(t, s), kind), cursor)
				if !more {
					break
				}
				for _, o := range page.Items {
					found[o.ID] = true
				}
				cursor = page.Cursor
			}
			for _, id := range ledgerIDs(s, kind) {
				if !found[id] {
					t.Errorf("%s %s was never met", kind, id)
				}
			}
		}
	}
}

func TestAStaleCursorOfAStoppedRunIsNoLoss(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	for _, kind := range []record.Kind{record.KindContact, record.KindConversation, record.KindTicket} {
		first, _ := onePage(t, paged(connect(t, s), kind), nil)
		second, _ := onePage(t, paged(connect(t, s), kind), first.Cursor)
		if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultStaleCursor, Times: 1}); err != nil {
			t.Fatal(err)
		}
		rest := mustWalk(t, paged(connect(t, s), kind), second.Cursor)
		var before []string
		for _, o := range slices.Concat(first.Items, second.Items) {
			if o.Gone == "" {
				before = append(before, o.ID)
			}
		}
		got := slices.Compact(sorted(slices.Concat(before, rest.live())))
		if diff := cmp.Diff(ledgerIDs(s, kind), got); diff != "" {
			t.Errorf("%s (-ledger +walked):\n%s", kind.Stream(), diff)
		}
	}
}

func TestACursorThatCannotBeReadIsAClearError(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	sources := []pipeline.Source[record.Object]{
		intercom.NewDeleted(c, intercom.DeletedOptions{}),
		intercom.NewConfirm(c, record.KindContact, func(func(string, error) bool) {}),
	}
	for _, kind := range record.Kinds {
		sources = append(sources, source(c, kind))
	}
	for _, src := range sources {
		for _, cursor := range []string{"\x02{}", "\x01", "\x01{", "\x01[]", "\x01{\"unheard\":1}", "xyz"} {
			_, err := walk(t.Context(), src, pipeline.Cursor(cursor))
			if err == nil || !strings.Contains(err.Error(), "resume "+src.Name()) || !strings.Contains(err.Error(), "--restart") {
				t.Errorf("%s from %q: error %v, want one that says what to do", src.Name(), cursor, err)
			}
		}
	}
	if n := s.Stats().Requests; n > 0 {
		t.Errorf("%d requests were made", n)
	}
}

// FuzzCursors: whatever is stored as a position, a stream ends with an error or at its end, and never panics.
func FuzzCursors(f *testing.F) {
	s := intercomtest.Start(f, intercomtest.Options{Conversations: 20, Contacts: 20, Companies: 5, Tickets: 5})
	c := connect(f, s)
	for _, kind := range record.Kinds {
		for _, cursor := range mustWalk(f, source(c, kind), nil).cursors {
			f.Add([]byte(cursor))
		}
	}
	f.Add([]byte("\x01{\"until\":5,\"from\":9,\"hi\":7,\"lo\":8,\"seen\":-4,\"held\":[\"a\",\"b\"]}"))
	f.Add([]byte("\x01{\"until\":9223372036854775807,\"from\":-9223372036854775808,\"rate\":1e-300}"))
	f.Fuzz(func(t *testing.T, cursor []byte) {
		for _, kind := range record.Kinds {
			n := 0
			for _, err := range source(c, kind).Pages(t.Context(), cursor) {
				if n++; err != nil || n > 100 {
					break
				}
			}
		}
	})
}

// TestKilledAnywhereIsTheSameAsUnbroken is the property of all walks: any split of a walk into runs meets what
// one run meets.
func TestKilledAnywhereIsTheSameAsUnbroken(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{Seed: 5}))
	c := connect(t, s)
	want := map[record.Kind][]string{}
	for _, kind := range record.Kinds {
		want[kind] = ledgerIDs(s, kind)
	}
	rapid.Check(t, func(r *rapid.T) {
		kind := rapid.SampledFrom(record.Kinds[1:]).Draw(r, "kind")
		o := intercom.StreamOptions{PageSize: rapid.IntRange(3, 60).Draw(r, "page size")}
		if rapid.Bool().Draw(r, "changed") {
			o.Since = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		make := func() pipeline.Source[record.Object] {
			switch kind {
			case record.KindContact:
				return intercom.NewContacts(c, o)
			case record.KindTicket:
				return intercom.NewTickets(c, o)
			}
			return intercom.NewConversations(c, o)
		}
		var cursor pipeline.Cursor
		var ids []string
		for runs := 0; ; runs++ {
			if runs > 1000 {
				r.Fatal("no end")
			}
			left, any := rapid.IntRange(1, 12).Draw(r, "pages of this run"), false
			for page, err := range make().Pages(t.Context(), cursor) {
				if err != nil {
					r.Fatal(err)
				}
				any = true
				for _, o := range page.Items {
					if o.Gone == "" {
						ids = append(ids, o.ID)
					}
				}
				cursor = page.Cursor
				if left--; left == 0 {
					break
				}
			}
			if !any {
				break
			}
		}
		if diff := cmp.Diff(want[kind], sorted(ids)); diff != "" {
			r.Fatal(fmt.Sprintf("%s (-ledger +walked):\n%s", kind.Stream(), diff))
		}
	})
}
