package intercom_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// fast are options for a simulator that breaks things: waits are short.
func fast(url string) intercom.Options {
	return intercom.Options{
		BaseURL: url, Backoff: time.Millisecond, Timeout: 5 * time.Second,
		ScrollWait: 20 * time.Millisecond, ScrollPatience: 10 * time.Second,
	}
}

func connect(tb testing.TB, s *intercomtest.Server, adjust ...func(*intercom.Options)) *intercom.Client {
	tb.Helper()
	o := fast(s.URL)
	for _, f := range adjust {
		f(&o)
	}
	c, err := intercom.New("us", s.Token, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// walked is all that a source yielded.
type walked struct {
	objects []record.Object
	cursors []pipeline.Cursor
	rejects []pipeline.Reject
	counts  pipeline.Counts
	pages   int
}

func (w walked) live() []string {
	var ids []string
	for _, o := range w.objects {
		if o.Gone == "" {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

func (w walked) gone() map[string]string {
	gone := make(map[string]string)
	for _, o := range w.objects {
		if o.Gone != "" {
			gone[o.ID] = string(o.Gone) + " " + o.MergedInto
		}
	}
	return gone
}

func walk(ctx context.Context, s pipeline.Source[record.Object], from pipeline.Cursor) (walked, error) {
	var w walked
	for page, err := range s.Pages(ctx, from) {
		if err != nil {
			return w, err
		}
		w.pages++
		w.objects = append(w.objects, page.Items...)
		w.rejects = append(w.rejects, page.Rejects...)
		w.cursors = append(w.cursors, page.Cursor)
		w.counts.Merge(page.Counts)
	}
	return w, nil
}

func mustWalk(tb testing.TB, s pipeline.Source[record.Object], from pipeline.Cursor) walked {
	tb.Helper()
	w, err := walk(tb.Context(), s, from)
	if err != nil {
		tb.Fatalf("walk %s: %v", s.Name(), err)
	}
	return w
}

// ledgerIDs are the ids of all living objects of a kind.
func ledgerIDs(s *intercomtest.Server, kind record.Kind) []string {
	var ids []string
	l := s.Ledger()
	switch kind {
	case record.KindContact:
		for c := range l.Contacts() {
			ids = append(ids, c.ID)
		}
	case record.KindCompany:
		for c := range l.Companies() {
			ids = append(ids, c.ID)
		}
	case record.KindConversation:
		for c := range l.Conversations() {
			ids = append(ids, c.ID)
		}
	case record.KindTicket:
		for c := range l.Tickets() {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// paged makes the full walk of a kind in small pages.
func paged(c *intercom.Client, kind record.Kind) pipeline.Source[record.Object] {
	o := intercom.StreamOptions{PageSize: 25}
	switch kind {
	case record.KindContact:
		return intercom.NewContacts(c, o)
	case record.KindTicket:
		return intercom.NewTickets(c, o)
	case record.KindConversation:
		return intercom.NewConversations(c, o)
	}
	return source(c, kind)
}

// source makes the full walk of a kind.
func source(c *intercom.Client, kind record.Kind) pipeline.Source[record.Object] {
	switch kind {
	case record.KindContact:
		return intercom.NewContacts(c, intercom.StreamOptions{})
	case record.KindCompany:
		return intercom.NewCompanies(c, intercom.CompanyOptions{})
	case record.KindTicket:
		return intercom.NewTickets(c, intercom.StreamOptions{})
	}
	return intercom.NewConversations(c, intercom.StreamOptions{})
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }

func TestEveryObjectIsWalkedOnce(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Conversations: 3000, Contacts: 1000, Companies: 350, Tickets: 500})
	c := connect(t, s)
	for _, kind := range record.Kinds {
		w := mustWalk(t, source(c, kind), nil)
		if diff := cmp.Diff(ledgerIDs(s, kind), sorted(w.live())); diff != "" {
			t.Errorf("%s (-ledger +walked):\n%s", kind.Stream(), diff)
		}
		if len(w.rejects) > 0 {
			t.Errorf("%s: %d rejects, first %+v", kind.Stream(), len(w.rejects), w.rejects[0])
		}
		t.Log(kind.Stream(), w.pages, "pages", w.counts)
	}
	st := c.Stats()
	for _, name := range slices.Sorted(maps.Keys(st.Requests)) {
		t.Log(name, st.Requests[name])
	}
	if v := s.Stats().Violations; len(v) > 0 {
		t.Errorf("writing requests: %v", v)
	}
}

// list names the files in a folder.
func list(tb testing.TB, dir string) []string {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
