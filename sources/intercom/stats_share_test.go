package intercom_test

import (
	"testing"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

func TestAClientThatSharesCountsItsOwnRequests(t *testing.T) {
	t.Parallel()
	sim := intercomtest.Start(t, intercomtest.Options{Conversations: 10, RateLimit: 10_000})
	all, err := intercom.New("us", sim.Token, intercom.Options{BaseURL: sim.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	count := func(c *intercom.Client) {
		t.Helper()
		if _, err := c.Count(t.Context(), record.KindConversation, sim.Options().Start); err != nil {
			t.Fatal(err)
		}
	}
	count(all)
	first, second := all.Share(), all.Share()
	count(first)
	count(first)
	count(second)
	for _, x := range []struct {
		name   string
		client *intercom.Client
		want   int64
	}{{"the first", first, 2}, {"the second", second, 1}, {"the shared one", all, 1}} {
		if s := x.client.Stats(); s.Total != x.want || s.PerMinute < 9_990 {
			t.Errorf("%s counts %d requests of a budget of %d, want %d of about 10,000", x.name, s.Total, s.PerMinute, x.want)
		}
	}
	// The budget is one: what one has used is missing for the others.
	if a, b := all.Stats().WindowRemaining, second.Stats().WindowRemaining; a != b {
		t.Errorf("%d requests remain for one, %d for the other", a, b)
	}
}
