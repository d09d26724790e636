package intercom_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// standing is a clock that does not move: the simulator signs the addresses of files by its clock, so
// the same object read later differs in them.
func standing() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// sameObjects compares objects but for the time of their fetch, bodies as a whole.
var sameObjects = cmp.Options{
	cmpopts.IgnoreFields(record.Object{}, "FetchedAt"),
	cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal)),
}

// TestSourcesKeepTheEnginesRules runs the engine's own checks of a source: any cursor resumes with exactly
// what follows, a consumer may stop anywhere, and a context that is done ends the walk.
func TestSourcesKeepTheEnginesRules(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{Now: standing}))
	until := standing()
	o := intercom.StreamOptions{PageSize: 40, Until: until}
	changed := intercom.StreamOptions{PageSize: 40, Until: until, Since: time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)}
	for name, open := range map[string]func(c *intercom.Client) pipeline.Source[record.Object]{
		"contacts":              func(c *intercom.Client) pipeline.Source[record.Object] { return intercom.NewContacts(c, o) },
		"changed contacts":      func(c *intercom.Client) pipeline.Source[record.Object] { return intercom.NewContacts(c, changed) },
		"conversations":         func(c *intercom.Client) pipeline.Source[record.Object] { return intercom.NewConversations(c, o) },
		"changed conversations": func(c *intercom.Client) pipeline.Source[record.Object] { return intercom.NewConversations(c, changed) },
		"tickets":               func(c *intercom.Client) pipeline.Source[record.Object] { return intercom.NewTickets(c, o) },
		"deleted": func(c *intercom.Client) pipeline.Source[record.Object] {
			return intercom.NewDeleted(c, intercom.DeletedOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, s)
			pipetest.CheckSource(t, func() pipeline.Source[record.Object] { return open(c) }, sameObjects)
		})
	}
}

func TestDetailsKeepTheEnginesRules(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{Now: standing}))
	c := connect(t, s)
	rows := mustWalk(t, paged(c, record.KindConversation), nil).objects[:40]
	rows = append(rows, mustWalk(t, paged(c, record.KindContact), nil).objects[:30]...)
	rows = append(rows, mustWalk(t, paged(c, record.KindTicket), nil).objects[:30]...)
	if err := s.Delete(intercomtest.Conversations, rows[7].ID); err != nil {
		t.Fatal(err)
	}
	pipetest.CheckStage(t, intercom.NewDetails(c, intercom.DetailOptions{Concurrency: 8}), func() []record.Object {
		return append([]record.Object(nil), rows...)
	}, pipetest.Compare(sameObjects))
}
