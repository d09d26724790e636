package compare_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/compare"
	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

var (
	testOrg = record.UUID{0: 0xaa, 6: 0x40, 8: 0x80, 15: 1}
	silence = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// minuteAgo is a clock whose changes are in the past: several to one object are a second apart.
func minuteAgo() time.Time { return time.Now().Add(-time.Minute) }

func testLive(t *testing.T, sim *intercomtest.Server) *compare.Live {
	t.Helper()
	client, err := intercom.New("us", sim.Token, intercom.Options{BaseURL: sim.URL, Log: silence, ScrollWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	live := compare.NewLive(compare.Options{
		Client: client, Log: silence, Dir: t.TempDir(),
		Connection: connection.Connection{Org: testOrg, UserIDField: "external_id", CompanyIDField: "company_id"},
	})
	t.Cleanup(func() {
		if err := live.Close(); err != nil {
			t.Error(err)
		}
	})
	return live
}

func fingerprints(t *testing.T, s diff.Side, entity string, level diff.Level) []record.Fingerprint {
	t.Helper()
	var list []record.Fingerprint
	for batch, err := range s.Fingerprints(t.Context(), entity, level) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, batch...)
	}
	return list
}

func idsOf(list []record.Fingerprint) []string {
	var ids []string
	for _, f := range list {
		if f.State == record.FingerprintLive {
			ids = append(ids, f.SourceID)
		}
	}
	slices.Sort(ids)
	return ids
}

var entities = map[string]intercomtest.Kind{
	"companies": intercomtest.Companies, "end_users": intercomtest.Contacts,
	"transcripts": intercomtest.Conversations, "tickets": intercomtest.Tickets,
}

func TestTheLiveSideHasEveryObjectOfTheLedgerOnceAtBothLevels(t *testing.T) {
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 4, Conversations: 400, Contacts: 330, Companies: 210, Tickets: 170, Oddities: 60, Now: minuteAgo})
	for _, level := range []diff.Level{diff.LevelFast, diff.LevelFull} {
		live := testLive(t, sim)
		for entity, kind := range entities {
			want := slices.Sorted(sim.Ledger().IDs(kind))
			if diff := cmp.Diff(want, idsOf(fingerprints(t, live, entity, level))); diff != "" {
				t.Errorf("level %s, %s (-ledger +live):\n%s", level, entity, diff)
			}
		}
		for _, c := range live.Checks() {
			if c.Want != c.Got {
				t.Errorf("level %s: %s: want %d, got %d (%s)", level, c.Name, c.Want, c.Got, c.Detail)
			}
		}
		perConversation := sim.Stats().Endpoints["GET /conversations/{id}"]
		if level == diff.LevelFast && perConversation != 0 {
			t.Errorf("level fast has read %d conversations one by one", perConversation)
		}
		if n := int64(sim.Ledger().Counts().Conversations); level == diff.LevelFull && perConversation != n {
			t.Errorf("level full has read %d conversations one by one, want each of %d once", perConversation, n)
		}
	}
}

func TestAConsumerThatStopsEndsTheWalk(t *testing.T) {
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 4, Conversations: 2000, Now: minuteAgo})
	live := testLive(t, sim)
	for _, err := range live.Fingerprints(t.Context(), "transcripts", diff.LevelFull) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := sim.Stats().Endpoints["GET /conversations/{id}"]; n > 1500 {
		t.Errorf("%d conversations were read for a consumer that stopped at once", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	for _, err := range live.Fingerprints(ctx, "transcripts", diff.LevelFull) {
		cancel()
		failed = err
	}
	if failed == nil {
		t.Error("a walk that was cancelled ended without an error")
	}
}
