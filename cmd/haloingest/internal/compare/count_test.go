package compare

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// What a walk has missed is found by counting, and listing again costs requests for the days concerned only.
func TestObjectsThatAWalkHasMissedAreFoundByIntercomsOwnCount(t *testing.T) {
	for _, inclusive := range []bool{false, true} {
		sim := intercomtest.Start(t, intercomtest.Options{Seed: 5, Conversations: 9000, Contacts: 400, InclusiveBounds: inclusive})
		client, err := intercom.New("us", sim.Token, intercom.Options{BaseURL: sim.URL, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		live := NewLive(Options{Client: client})
		for kind, of := range map[record.Kind]intercomtest.Kind{
			record.KindConversation: intercomtest.Conversations, record.KindContact: intercomtest.Contacts,
		} {
			whole := newTally(kind, time.Now().Unix())
			source, _, _, err := live.source(t.Context(), kind)
			if err != nil {
				t.Fatal(err)
			}
			all := slices.Collect(sim.Ledger().IDs(of))
			lost := []string{all[0], all[7], all[len(all)/2], all[len(all)-1]}
			slices.Sort(lost)
			short := newTally(kind, whole.until)
			for page, err := range source.Pages(t.Context(), nil) {
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page.Items {
					whole.add(o)
					if !slices.Contains(lost, o.ID) {
						short.add(o)
					}
				}
			}
			check, missed, err := live.recount(t.Context(), whole)
			if err != nil || len(missed) != 0 || check.Want != check.Got || check.Got != int64(len(all)) {
				t.Errorf("inclusive %v: a whole walk over %d %s: %v, %+v, %v", inclusive, len(all), of, missed, check, err)
			}
			before := client.Stats().Total
			check, missed, err = live.recount(t.Context(), short)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lost, missed); diff != "" {
				t.Errorf("inclusive %v, %s (-lost +found again):\n%s", inclusive, of, diff)
			}
			if check.Want != int64(len(all)) || check.Got != int64(len(all)-len(lost)) {
				t.Errorf("inclusive %v, %s: %+v", inclusive, of, check)
			}
			if n := client.Stats().Total - before; kind == record.KindConversation && !inclusive && n > 45 {
				t.Errorf("it took %d requests to find %d of %d %s again", n, len(lost), len(all), of)
			}
		}
	}
}
