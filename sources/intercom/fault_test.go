package intercom_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// small is a workspace in which every stream has several pages.
func small(o intercomtest.Options) intercomtest.Options {
	o.Conversations, o.Contacts, o.Companies, o.Tickets = 100, 120, 90, 120
	o.ScrollPage = 25
	return o
}

// whole walks a kind as a run does: through the stage of details, page by page.
func whole(tb testing.TB, c *intercom.Client, s pipeline.Source[record.Object], from pipeline.Cursor) (walked, error) {
	details := intercom.NewDetails(c, intercom.DetailOptions{})
	var w walked
	for page, err := range s.Pages(tb.Context(), from) {
		if err != nil {
			return w, err
		}
		result, err := details.Process(tb.Context(), page.Items)
		if err != nil {
			return w, err
		}
		w.pages++
		w.objects = append(w.objects, result.Items...)
		w.rejects = append(append(w.rejects, page.Rejects...), result.Rejects...)
		w.cursors = append(w.cursors, page.Cursor)
		w.counts.Merge(page.Counts)
		w.counts.Merge(result.Counts)
	}
	return w, nil
}

// onCursors has a fault befall the second, third and fifth page of every paged stream.
func onCursors(kind intercomtest.FaultKind) []intercomtest.Fault {
	var faults []intercomtest.Fault
	for _, path := range []string{"GET /contacts", "POST /conversations/search", "POST /tickets/search"} {
		faults = append(faults, intercomtest.Fault{Kind: kind, Path: path, Nth: []int{2, 3, 5}})
	}
	return faults
}

// TestNoFaultLosesAnObject walks everything under each kind of fault that passes, several times over, and
// holds what was found against the simulator's own ledger.
func TestNoFaultLosesAnObject(t *testing.T) {
	faults := map[string][]intercomtest.Fault{
		"429 with the window's end": {{Kind: intercomtest.Fault429, Rate: 0.03, Times: 2, For: time.Second}},
		"429 with Retry-After":      {{Kind: intercomtest.Fault429, Rate: 0.03, Times: 2, Headers: intercomtest.HeadersRetryAfter, For: time.Second}},
		"429 with nothing":          {{Kind: intercomtest.Fault429, Rate: 0.03, Times: 2, Headers: intercomtest.HeadersNone}},
		"500":                       {{Kind: intercomtest.FaultServerError, Rate: 0.1}},
		"503":                       {{Kind: intercomtest.FaultServerError, Rate: 0.1, Status: 503}},
		"504 as HTML":               {{Kind: intercomtest.FaultHTML, Rate: 0.1}},
		"reset":                     {{Kind: intercomtest.FaultReset, Rate: 0.1}},
		"reset in the body":         {{Kind: intercomtest.FaultResetLate, Rate: 0.1}},
		"stall":                     {{Kind: intercomtest.FaultStall, Rate: 0.02, Times: 6, For: 30 * time.Second}},
		"slow":                      {{Kind: intercomtest.FaultSlow, Rate: 0.05, Times: 20, For: 50 * time.Millisecond}},
		"one byte a second":         {{Kind: intercomtest.FaultSlowBody, Rate: 0.02, Times: 6, Bytes: 1}},
		"truncated":                 {{Kind: intercomtest.FaultTruncated, Rate: 0.1}},
		"wrong length":              {{Kind: intercomtest.FaultShortLength, Rate: 0.05}},
		"bad gzip":                  {{Kind: intercomtest.FaultBadGzip, Rate: 0.05}},
		"empty body":                {{Kind: intercomtest.FaultEmptyBody, Rate: 0.05}},
		"half the JSON":             {{Kind: intercomtest.FaultBadJSON, Rate: 0.05}},
		"repeated cursor":           onCursors(intercomtest.FaultRepeatedCursor),
		"stale cursor":              onCursors(intercomtest.FaultStaleCursor),
		"empty page":                onCursors(intercomtest.FaultEmptyPage),
		"duplicates":                {{Kind: intercomtest.FaultDuplicates, Every: 2}},
		"moving rows":               {{Kind: intercomtest.FaultMovingRows}},
		"clock ahead":               {{Kind: intercomtest.FaultClockSkew, Rate: 0.2, For: 90 * time.Second}},
		"clock behind":              {{Kind: intercomtest.FaultClockSkew, Rate: 0.2, For: -90 * time.Second}},
		"scroll fails":              {{Kind: intercomtest.FaultScrollFails, Path: "/companies/scroll", Nth: []int{2, 5}}},
		"scroll held":               {{Kind: intercomtest.FaultScrollHeld, Path: "/companies/scroll", Nth: []int{1, 2}}},
	}
	for name, set := range faults {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				t.Parallel()
				s := intercomtest.Start(t, small(intercomtest.Options{Seed: seed, ScrollIdle: 100 * time.Millisecond}))
				c := connect(t, s, func(o *intercom.Options) {
					o.Timeout = 400 * time.Millisecond
					o.ScrollWait = 50 * time.Millisecond
					o.MaxAttempts = 12
				})
				if err := s.SetFaults(set...); err != nil {
					t.Fatal(err)
				}
				for _, kind := range record.Kinds {
					w, err := whole(t, c, paged(c, kind), nil)
					if err != nil {
						t.Fatalf("walk %s: %v", kind.Stream(), err)
					}
					if diff := cmp.Diff(ledgerIDs(s, kind), sorted(w.live())); diff != "" {
						t.Errorf("%s (-ledger +walked), counts %v:\n%s", kind.Stream(), w.counts, diff)
					}
					if len(w.rejects) > 0 {
						t.Errorf("%s: %d rejects, first %+v", kind.Stream(), len(w.rejects), w.rejects[0])
					}
				}
				if len(s.Stats().Faults) == 0 {
					t.Error("the fault did not befall any request")
				}
			})
		}
	}
}

// TestWhatIsDeletedDuringTheWalkIsNoError: rows vanish between list and detail, and while lists are paged.
func TestWhatIsDeletedDuringTheWalkIsNoError(t *testing.T) {
	for seed := range uint64(3) {
		s := intercomtest.Start(t, small(intercomtest.Options{Seed: seed}))
		c := connect(t, s)
		if err := s.SetFaults(
			intercomtest.Fault{Kind: intercomtest.FaultDeletingRows},
			intercomtest.Fault{Kind: intercomtest.FaultMovingRows, Rate: 0.5},
		); err != nil {
			t.Fatal(err)
		}
		for _, kind := range record.Kinds {
			w, err := whole(t, c, paged(c, kind), nil)
			if err != nil {
				t.Fatalf("walk %s: %v", kind.Stream(), err)
			}
			found := make(map[string]int)
			for _, id := range w.live() {
				found[id]++
			}
			for _, id := range ledgerIDs(s, kind) {
				if found[id] != 1 {
					t.Errorf("seed %d: %s %s, which lives, was found %d times; counts %v", seed, kind, id, found[id], w.counts)
				}
			}
			for id := range w.gone() {
				if found[id] > 0 {
					t.Errorf("seed %d: %s %s is both there and gone", seed, kind, id)
				}
			}
		}
	}
}

func TestAConversationThatIsGoneBecomesATombstone(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultNotFound, Path: "GET /conversations/*", Nth: []int{3, 77}}); err != nil {
		t.Fatal(err)
	}
	w, err := whole(t, c, paged(c, record.KindConversation), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.gone()) != 2 || len(w.live()) != 98 || len(w.rejects) != 0 {
		t.Errorf("%d gone, %d live, %d rejects; want 2, 98, 0", len(w.gone()), len(w.live()), len(w.rejects))
	}
	if n := w.counts["intercom/conversations/gone before it was read"]; n != 2 {
		t.Errorf("2 were gone before they were read, %d were counted", n)
	}
}

func TestOnePoisonousConversationIsRejectedAndTheRestLoads(t *testing.T) {
	for _, kind := range []intercomtest.FaultKind{
		intercomtest.FaultBadJSON, intercomtest.FaultEmptyBody, intercomtest.FaultTruncated, intercomtest.FaultBadGzip, intercomtest.FaultServerError,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := intercomtest.Start(t, small(intercomtest.Options{}))
			c := connect(t, s)
			id := ledgerIDs(s, record.KindConversation)[17]
			if err := s.SetFaults(intercomtest.Fault{Kind: kind, Path: "GET /conversations/" + id}); err != nil {
				t.Fatal(err)
			}
			w, err := whole(t, c, paged(c, record.KindConversation), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(w.rejects) != 1 || len(w.live()) != 99 {
				t.Fatalf("%d rejects and %d objects, want 1 and 99", len(w.rejects), len(w.live()))
			}
			r := w.rejects[0]
			if r.ID != id || r.Kind != "conversation" || !strings.Contains(string(r.Payload), id) || !strings.Contains(r.Reason, id) {
				t.Errorf("reject %+v does not name conversation %s or has no payload", r, id)
			}
		})
	}
}

func TestATooLargeConversationIsRejected(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s, func(o *intercom.Options) { o.MaxBody = 1 << 20 })
	ids := ledgerIDs(s, record.KindConversation)
	if _, err := s.Reply(ids[3], "user", strings.Repeat("much ", 300_000)); err != nil {
		t.Fatal(err)
	}
	w, err := whole(t, c, paged(c, record.KindConversation), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.rejects) != 1 || w.rejects[0].ID != ids[3] || !strings.Contains(w.rejects[0].Reason, "larger than the limit of 1048576 bytes") {
		t.Errorf("rejects %+v, want conversation %s as too large", w.rejects, ids[3])
	}
	if n := s.Stats().Endpoints["GET /conversations/{id}"]; n != 100 {
		t.Errorf("%d reads, want 100: what is too large is not read again", n)
	}
}

func TestAnOutageStopsTheRunInsteadOfRejectingEverything(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s, func(o *intercom.Options) { o.MaxAttempts = 3 })
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultServerError, Path: "GET /conversations/*", Status: 503}); err != nil {
		t.Fatal(err)
	}
	w, err := whole(t, c, paged(c, record.KindConversation), nil)
	var e *intercom.Error
	if !errors.As(err, &e) || e.Class != intercom.ClassTemporary || e.Status != 503 || e.Attempts != 3 || e.Hint == "" {
		t.Fatalf("error %v (%d objects, %d rejects), want a temporary one after 3 attempts", err, len(w.objects), len(w.rejects))
	}
}

func TestATokenThatDiesStopsTheRun(t *testing.T) {
	for _, kind := range record.Kinds {
		t.Run(kind.Stream(), func(t *testing.T) {
			s := intercomtest.Start(t, small(intercomtest.Options{}))
			c := connect(t, s)
			if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultTokenRevoked, From: 3}); err != nil {
				t.Fatal(err)
			}
			w, err := walk(t.Context(), paged(c, kind), nil)
			if class, _ := intercom.ClassOf(err); class != intercom.ClassStop {
				t.Fatalf("error %v, want one that stops the run", err)
			}
			if kind != record.KindCompany && w.pages == 0 {
				t.Error("the pages before the end are gone")
			}
			if n := s.Stats().Requests; n > 4 {
				t.Errorf("%d requests, want none after the refusal", n)
			}
		})
	}
}

func TestAMissingScopeIsToldPerStream(t *testing.T) {
	for _, c := range []struct {
		kind   record.Kind
		scope  intercomtest.Scope
		status int
		code   string
	}{
		{record.KindContact, intercomtest.ScopeContacts, 403, "token_unauthorized"},
		{record.KindCompany, intercomtest.ScopeCompanies, 401, "token_unauthorized"},
		{record.KindConversation, intercomtest.ScopeConversations, 403, "api_plan_restricted"},
		{record.KindTicket, intercomtest.ScopeTickets, 403, "forbidden"},
	} {
		t.Run(c.kind.Stream(), func(t *testing.T) {
			s := intercomtest.Start(t, intercomtest.Options{
				Scopes: intercomtest.ScopeRead &^ c.scope, ScopeStatus: c.status, ScopeCode: c.code,
			})
			client := connect(t, s)
			_, err := walk(t.Context(), paged(client, c.kind), nil)
			var e *intercom.Error
			if !errors.As(err, &e) || e.Class != intercom.ClassScope || e.Code != c.code || e.Hint == "" {
				t.Errorf("error %v, want a missing permission with a hint", err)
			}
			access, err := client.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]record.Kind{c.kind}, access.Missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}
