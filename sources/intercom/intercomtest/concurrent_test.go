package intercomtest

import (
	"fmt"
	"sync"
	"testing"
)

// Run with -race. Nothing is compared while the workspace changes; afterwards the
// API and the ledger must agree.
func TestReadersAndChangesAtTheSameTime(t *testing.T) {
	s := Start(t, Options{Seed: 2, Conversations: 60, RateLimit: 1_000_000, Faults: []Fault{{Kind: FaultMovingRows, Rate: 0.2}, {Kind: FaultServerError, Rate: 0.05}}})
	search := `{"query":{"field":"updated_at","operator":">","value":0},"pagination":{"per_page":20},"sort":{"field":"updated_at","order":"ascending"}}`
	ids := livingIDs(s.Workspace, Conversations)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 25 {
				for _, q := range [][3]string{
					{"POST", "/conversations/search", search}, {"POST", "/contacts/search", search}, {"POST", "/tickets/search", search},
					{"GET", "/conversations/" + ids[(g*25+i)%len(ids)], ""}, {"GET", "/companies/scroll", ""}, {"GET", "/_sim/stats", ""},
				} {
					if _, err := try(s, q[0], q[1], q[2]); err != nil {
						t.Errorf("%v: %v", q, err)
					}
				}
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := range 40 {
			_, _ = s.Reply(ids[i%len(ids)], "user", fmt.Sprint("reply ", i)) // some are deleted by then
			s.TouchRandom(Contacts, 2)
			s.DeleteRandom(Conversations, i%2)
			if _, err := s.CreateConversation("", "new"); err != nil {
				t.Error(err)
			}
		}
	}()
	wg.Wait()
	if err := s.SetFaults(); err != nil {
		t.Fatal(err)
	}
	checkStory(t, s)
}
