package site

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// overviewView is the first page of an organisation.
type overviewView struct {
	head
	State    standing
	Progress *progressView // nil: no run is under way, or it has not said how far it is
	Totals   []total
	Synced   when
	SyncedTo when
	Secret   string // configured, not configured
	Inbox    inboxView
	Rejects  int64
	Links    int64
	Cut      int64
	Activity activity
	Recent   []runLine
	Budget   *budgetView
	Diff     *diffView
}

type inboxView struct {
	inbox
	Newest when
	Error  string
}

// diffView is the newest diff.
type diffView struct {
	Tone, Verdict, Sentence string
	Left, Right, Level      string
	At                      when
}

// progressView is how far the run under way is.
type progressView struct {
	Streams             []streamView
	Elapsed, Left       string
	Requests, Throttled int64
	Process             string
}

type streamView struct {
	Name, Class           string
	Value, Max            int64 // Max 0: not known
	Done, Of, Rate, Left_ string
}

// budgetView is which share of Intercom's budget of requests is used.
type budgetView struct {
	PerMinute  int64
	Share      int // percent of the last whole window, by this run
	Requests   int64
	Throttled  int64
	Unmeasured bool // no rate header has been seen yet
}

func (s *Site) overview(w http.ResponseWriter, r *http.Request) error {
	org, err := orgOf(r)
	if err != nil {
		return err
	}
	v, err := s.readOverview(r.Context(), org)
	if err != nil {
		return err
	}
	v.head = headOf(r, org, v.Conn, v.Known, v.Rejects, "")
	if !v.Known && v.May.Administer && r.URL.Query().Get(saidKey) == "" {
		return redirect(v.URL + "/connect")
	}
	view := v.view("Overview", v)
	view.Live = v.URL + "/events"
	if v.State.Tone == "busy" {
		view.Again = 5 * time.Second
	}
	return s.show(w, r, "overview", http.StatusOK, view)
}

// readOverview makes the page's view, but for what depends on who looks.
func (s *Site) readOverview(ctx context.Context, org record.UUID) (overviewView, error) {
	f, err := s.read(ctx, org)
	if err != nil {
		return overviewView{}, err
	}
	v := overviewView{
		State: judge(f), Totals: totals(f.Status), Synced: since(f.Status.LastSyncedAt, f.At), SyncedTo: since(f.Status.SyncedTo, f.At),
		Secret: "not configured", Rejects: f.Status.OpenRejects, Links: f.Status.PendingLinks, Cut: f.Status.IncompleteConversations,
		Inbox: inboxView{inbox: f.Inbox, Newest: since(f.Inbox.Newest, f.At), Error: reason(f.Inbox.Error)},
	}
	v.Org, v.Conn, v.Known = org, f.Conn, f.Known
	if f.Conn.HasWebhookSecret {
		v.Secret = "configured"
	}
	v.State.Why = reason(v.State.Why)
	if !f.Known {
		return v, nil
	}
	if v.State.Key == stRunning {
		v.Progress, v.Budget = progressOf(f)
	}
	if f.Diff != nil {
		v.Diff = diffOf(*f.Diff, f.At)
	}
	if v.Activity, err = s.activity(ctx, f); err != nil {
		return v, err
	}
	if v.Recent, err = s.recent(ctx, f, 5); err != nil {
		return v, err
	}
	return v, nil
}

var diffTones = map[string][2]string{
	"equal":      {"good", "Equal"},
	"different":  {"bad", "Different"},
	"unverified": {"open", "Not all verified"},
	"partial":    {"open", "Only a part was compared"},
	"broken":     {"bad", "The diff itself is broken"},
}

func diffOf(d postgres.DiffRun, now time.Time) *diffView {
	v := &diffView{Tone: "off", Verdict: page.Capital(page.Short(d.Verdict, 40)), Sentence: page.Visible(d.Sentence),
		Left: page.Short(d.Left, 60), Right: page.Short(d.Right, 60), Level: page.Short(d.Level, 20), At: since(d.FinishedAt, now)}
	if t, ok := diffTones[d.Verdict]; ok {
		v.Tone, v.Verdict = t[0], t[1]
	}
	return v
}

// progressOf shows what the run under way has published; where that is nothing, what it has committed.
func progressOf(f facts) (*progressView, *budgetView) {
	p := f.Progress
	if p == nil || f.Last != nil && p.Run != f.Last.ID {
		return committedOf(f), nil
	}
	v := &progressView{Elapsed: elapsed(p.Elapsed), Left: left(p.Left), Requests: p.API.Requests, Throttled: p.API.Throttled, Process: page.Short(p.Process, 60)}
	waiting := false
	for _, s := range p.Streams {
		x := streamOf(s)
		waiting = waiting || s.State == string(ingest.StreamWaiting)
		v.Streams = append(v.Streams, x)
	}
	if waiting && v.Left != "" { // how much the others take is not known before they are counted
		v.Left += ", and what is still waiting"
	}
	b := &budgetView{PerMinute: int64(p.API.PerMinute), Share: percent(p.API.BudgetShare), Requests: p.API.Requests, Throttled: p.API.Throttled, Unmeasured: p.API.PerMinute == 0}
	return v, b
}

func streamOf(s work.StreamState) streamView {
	x := streamView{Name: streamWords(s.Stream), Class: page.Short(s.State, 20), Value: s.Done, Max: max(s.Total, s.Done), Done: page.Count(s.Done)}
	switch s.State {
	case string(ingest.StreamWaiting):
		x.Class, x.Of = "waiting", "waiting"
		x.Done = ""
		x.Max = max(x.Max, 1)
	case string(ingest.StreamComplete):
		x.Class, x.Max, x.Value = "done", max(s.Done, 1), max(s.Done, 1)
	case string(ingest.StreamSkipped):
		x.Class, x.Of, x.Done = "skipped", "left out", ""
		x.Max = 1
		x.Value = 0
	default:
		x.Class = "running"
		if s.Total > 0 {
			x.Of = "of " + page.Count(max(s.Total, s.Done))
		}
		x.Rate, x.Left_ = rate(s.PerSecond), left(s.Left)
		if s.Total == 0 {
			x.Max = 0
		}
	}
	return x
}

// committedOf shows a run that publishes nothing, such as one of a command.
func committedOf(f facts) *progressView {
	r := f.Last
	if r == nil || r.State != postgres.RunRunning {
		return nil
	}
	v := &progressView{Elapsed: elapsed(f.At.Sub(r.StartedAt)), Requests: r.Requests}
	if f.Status.Lease != nil {
		v.Process = page.Short(f.Status.Lease.Holder, 60)
	}
	for _, s := range inOrder(r.Streams) {
		x := streamView{Name: streamWords(s.Stream), Class: "running", Value: done(s.Counts), Done: page.Count(done(s.Counts))}
		switch {
		case s.Skipped != "":
			x.Class, x.Of, x.Max, x.Value, x.Done = "skipped", "left out", 1, 0, ""
		case s.Complete:
			x.Class, x.Max = "done", max(x.Value, 1)
			x.Value = x.Max
		}
		v.Streams = append(v.Streams, x)
	}
	return v
}

// done is how many objects of the four kinds were committed.
func done(c pipeline.Counts) int64 {
	var n int64
	for table, outcomes := range ingest.Loaded(c) {
		if table == "knowledge" {
			continue
		}
		for _, k := range outcomes {
			n += k
		}
	}
	return n
}

// elapsed is a length of time that goes on.
func elapsed(d time.Duration) string {
	if d < 10*time.Second {
		return "a few seconds"
	}
	return page.Span(d)
}

func percent(share float64) int {
	switch {
	case share <= 0:
		return 0
	case share >= 1:
		return 100
	}
	return max(1, int(share*100+0.5))
}

// inOrder puts streams as they are read.
func inOrder(list []postgres.StreamInfo) []postgres.StreamInfo {
	place := func(s postgres.StreamInfo) int {
		i := slices.IndexFunc(record.Kinds[:], func(k record.Kind) bool { return k.Stream() == s.Stream })
		if i < 0 {
			return len(record.Kinds)
		}
		return i
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b postgres.StreamInfo) int { return cmp.Compare(place(a), place(b)) })
}
