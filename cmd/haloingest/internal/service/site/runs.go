package site

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// runLine is a run, or the passes over the inbox of one day, in a table.
type runLine struct {
	URL                      string // "": there is no page of it
	Name, Note               string
	Tone, State              string
	Started, Took            string
	StartedISO               string
	Rows, Rejected, Requests int64
	Pending                  bool // requests are known at its end
	Error                    string

	at time.Time
}

func lineOf(r postgres.RunInfo, base string, now time.Time) runLine {
	l := runLine{URL: base + "/runs/" + r.ID.String(), Name: runWords(r), Started: clock(r.StartedAt), StartedISO: r.StartedAt.UTC().Format(time.RFC3339),
		Rows: written(r.Counts), Rejected: rejected(r.Counts), Requests: r.Requests, Error: reason(r.Error), at: r.StartedAt}
	end := r.FinishedAt
	if end.IsZero() {
		end = now
	}
	l.Took = page.Span(end.Sub(r.StartedAt))
	l.Tone, l.State = stateOf(r)
	l.Pending = r.State == postgres.RunRunning
	if l.State == "interrupted" {
		l.Took = "–"
		if !r.FinishedAt.IsZero() {
			l.Took = page.Span(r.FinishedAt.Sub(r.StartedAt))
		}
	}
	if r.Attempts > 1 {
		l.Note = fmt.Sprintf("%d attempts", r.Attempts)
	}
	return l
}

// stateOf is how a run stands, with a tone.
func stateOf(r postgres.RunInfo) (tone, state string) {
	if !r.UndoneAt.IsZero() {
		return "off", "undone"
	}
	switch r.State {
	case postgres.RunRunning:
		return "busy", "running"
	case postgres.RunComplete:
		if rejected(r.Counts) > 0 {
			return "open", "complete, with rejects"
		}
		return "good", "complete"
	case postgres.RunFailed:
		return "bad", "failed"
	case postgres.RunInterrupted:
		return "open", "interrupted"
	case postgres.RunAbandoned:
		return "off", "put aside"
	}
	return "off", page.Short(string(r.State), 30)
}

// written is how many rows of the four tables a run has made, changed or marked as deleted.
func written(c pipeline.Counts) int64 {
	return outcomes(c, ingest.Inserted, ingest.Updated, ingest.Deleted)
}

func rejected(c pipeline.Counts) int64 { return outcomes(c, ingest.Rejected) }

func outcomes(c pipeline.Counts, names ...string) int64 {
	var n int64
	for table, outcomes := range ingest.Loaded(c) {
		if table == "knowledge" {
			continue
		}
		for _, name := range names {
			n += outcomes[name]
		}
	}
	return n
}

func foldedLine(x folded) runLine {
	l := runLine{Name: "Webhooks", Note: page.Plural(x.Passes, "pass") + " over the inbox", Tone: "good", State: "complete", Started: x.Day.UTC().Format("2006-01-02"),
		StartedISO: x.Day.UTC().Format("2006-01-02"), Took: "–", Rows: x.Rows, Rejected: x.Rejected, Requests: x.Requests, at: x.LastEnded}
	if x.Passes != 1 {
		l.Note = page.Count(x.Passes) + " passes over the inbox"
	}
	if x.Failed > 0 {
		l.Tone, l.State = "open", page.Count(x.Failed)+" failed"
	}
	return l
}

// runDays is how far back passes over the inbox are shown and summed.
const runDays = 14

// recent lists the newest runs with the webhooks of each day among them.
func (s *Site) recent(ctx context.Context, f facts, limit int) ([]runLine, error) {
	list, err := s.readRuns(ctx, f.Org, time.Time{}, limit)
	if err != nil {
		return nil, err
	}
	webhooks, err := s.readFolded(ctx, f.Org, f.At.AddDate(0, 0, -runDays))
	if err != nil {
		return nil, err
	}
	lines := merged(list, webhooks, orgURL(f.Org.String()), f.At)
	return lines[:min(limit, len(lines))], nil
}

func merged(list []postgres.RunInfo, webhooks []folded, base string, now time.Time) []runLine {
	var lines []runLine
	for _, r := range list {
		lines = append(lines, lineOf(r, base, now))
	}
	for _, x := range webhooks {
		lines = append(lines, foldedLine(x))
	}
	slices.SortStableFunc(lines, func(a, b runLine) int { return b.at.Compare(a.at) })
	return lines
}

// runsView is the history of an organisation.
type runsView struct {
	head
	Activity activity
	Runs     []runLine
	Older    string // the address of the next page; "": there is none
	Newest   bool   // the first page
}

// runsOnPage are the runs of one page.
const runsOnPage = 40

func (s *Site) runs(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/runs")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), factsWithin)
	defer cancel()
	var before time.Time
	if q := r.URL.Query().Get("before"); q != "" {
		if before, err = time.Parse(time.RFC3339Nano, q); err != nil {
			return errNothing
		}
	}
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	list, err := s.readRuns(ctx, h.Org, before, runsOnPage+1)
	if err != nil {
		return err
	}
	v := runsView{head: h, Newest: before.IsZero()}
	from, end := now.AddDate(0, 0, -runDays), now
	if len(list) > runsOnPage {
		list = list[:runsOnPage]
		v.Older = h.URL + "/runs?before=" + list[runsOnPage-1].StartedAt.UTC().Format(time.RFC3339Nano)
		if from.Before(list[runsOnPage-1].StartedAt) {
			from = list[runsOnPage-1].StartedAt
		}
	}
	if !before.IsZero() {
		end = before
	}
	webhooks, err := s.readFolded(ctx, h.Org, now.AddDate(0, 0, -runDays))
	if err != nil {
		return err
	}
	webhooks = slices.DeleteFunc(webhooks, func(x folded) bool { return x.LastEnded.Before(from) || !x.LastEnded.Before(end) })
	v.Runs = merged(list, webhooks, h.URL, now)
	if v.Newest {
		if v.Activity, err = s.activity(ctx, facts{Org: h.Org, At: now}); err != nil {
			return err
		}
	}
	return s.show(w, r, "runs", http.StatusOK, h.view("Runs", v))
}

func (s *Site) now(ctx context.Context) (at time.Time, err error) {
	if err := s.o.DB.Pool().QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&at); err != nil {
		return at, fmt.Errorf("ask the database for the time: %w", err)
	}
	return at.UTC(), nil
}

// runView is one run.
type runView struct {
	head
	Line     runLine
	ID       string
	Text     string
	Began    when
	Ended    when
	Streams  []runStream
	Loaded   []loaded
	Unmapped []postgres.Tally
	More     int
}

type runStream struct {
	Name, Tone, State, Why string
	Objects, Batches       int64
}

// loaded is what became of the objects of one table.
type loaded struct {
	Name                                              string
	Inserted, Updated, Equal, Stale, Deleted, Rejects int64
}

// unmappedOnPage is how many of the things are listed that have no place in Halo.
const unmappedOnPage = 30

func (s *Site) run(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/runs")
	if err != nil {
		return err
	}
	id, err := record.ParseUUID(r.PathValue("run"))
	if err != nil {
		return errNothing
	}
	info, err := s.o.DB.RunInfo(r.Context(), h.Org, id.String())
	if err != nil {
		return err
	}
	now, err := s.now(r.Context())
	if err != nil {
		return err
	}
	v := runView{head: h, Line: lineOf(info, h.URL, now), ID: info.ID.String(), Began: since(info.StartedAt, now), Ended: since(info.FinishedAt, now)}
	for _, st := range inOrder(info.Streams) {
		x := runStream{Name: streamWords(st.Stream), Tone: "open", State: "not finished", Objects: done(st.Counts), Batches: st.Batches}
		switch {
		case st.Skipped != "":
			x.Tone, x.State, x.Why = "bad", "left out", reason(st.Skipped)
		case st.Complete:
			x.Tone, x.State = "good", "complete"
		case info.State == postgres.RunRunning:
			x.Tone, x.State = "busy", "running"
		}
		v.Streams = append(v.Streams, x)
	}
	sums := ingest.Loaded(info.Counts)
	for _, t := range []struct{ table, name string }{{"end_users", "Contacts"}, {"companies", "Companies"}, {"transcripts", "Conversations"}, {"tickets", "Tickets"}, {"knowledge", "Knowledge"}} {
		if o := sums[t.table]; o != nil {
			v.Loaded = append(v.Loaded, loaded{t.name, o[ingest.Inserted], o[ingest.Updated], o[ingest.Equal], o[ingest.Stale], o[ingest.Deleted], o[ingest.Rejected]})
		}
	}
	v.Unmapped = info.Unmapped
	if n := len(v.Unmapped); n > unmappedOnPage {
		v.Unmapped, v.More = v.Unmapped[:unmappedOnPage], n-unmappedOnPage
	}
	return s.show(w, r, "run", http.StatusOK, h.view(v.Line.Name, v))
}

// activity is what runs did over time, for two charts and the table that says the same.
type activity struct {
	Unit               string // hour, day
	Buckets            []column
	Rows, Requests     int64 // in all
	MostRows, MostReqs int64 // in one column
	From, To           string
	RowsWords          string
	RequestsWords      string
	Width              int  // of the charts' coordinates
	Root               bool // heights are of square roots: one column is so high that others could not be seen
}

// column is one hour or day of a chart.
type column struct {
	bucket
	Label              string
	X, Width           int
	RowsY, RowsHeight  int
	ReqsY, ReqsHeight  int
	RowsText, ReqsText string
}

// Coordinates of a chart: it is stretched to its place.
const (
	columnWidth = 20
	chartHeight = 100
	leastBar    = 2
)

// activity reads what runs did: the last two days by the hour while nothing is older, else two weeks by the day.
func (s *Site) activity(ctx context.Context, f facts) (activity, error) {
	var first *time.Time
	if err := s.o.DB.Pool().QueryRow(ctx, `SELECT min(started_at) FROM (SELECT started_at FROM ingest.runs WHERE org_id = $1 ORDER BY started_at LIMIT 1) r`, f.Org).Scan(&first); err != nil {
		return activity{}, fmt.Errorf("look for the first run of %s: %w", f.Org, err)
	}
	if first == nil {
		return activity{}, nil
	}
	now := f.At.UTC()
	unit, n, from := "day", runDays, now.Truncate(24*time.Hour).AddDate(0, 0, 1-runDays)
	if now.Sub(*first) < 24*time.Hour {
		unit, n, from = "hour", 24, now.Truncate(time.Hour).Add(-23*time.Hour)
	}
	list, err := s.readActivity(ctx, f.Org, unit, from, n)
	if err != nil {
		return activity{}, err
	}
	if f.Progress != nil && len(list) > 0 { // a run's requests are in its row when it ends
		list[len(list)-1].Requests += f.Progress.API.Requests
	}
	return draw(unit, list), nil
}

// draw lays out the columns.
func draw(unit string, list []bucket) activity {
	a := activity{Unit: unit, Width: columnWidth * len(list)}
	layout := "2 Jan"
	if unit == "hour" {
		layout = "15:04"
	}
	for _, b := range list {
		a.Rows, a.Requests = a.Rows+b.Rows, a.Requests+b.Requests
		a.MostRows, a.MostReqs = max(a.MostRows, b.Rows), max(a.MostReqs, b.Requests)
	}
	a.Root = outlying(list, a.MostRows)
	for i, b := range list {
		c := column{bucket: b, Label: b.From.UTC().Format(layout), X: i*columnWidth + 2, Width: columnWidth - 4}
		c.RowsHeight, c.ReqsHeight = height(b.Rows, a.MostRows, a.Root), height(b.Requests, a.MostReqs, a.Root)
		c.RowsY, c.ReqsY = chartHeight-c.RowsHeight, chartHeight-c.ReqsHeight
		a.Buckets = append(a.Buckets, c)
	}
	if n := len(a.Buckets); n > 0 {
		a.From, a.To = a.Buckets[0].Label, "today"
		if unit == "hour" {
			a.To = "this hour (UTC)"
		}
	}
	a.RowsWords = chartWords("Rows written", a, func(c column) int64 { return c.Rows }, a.Rows)
	a.RequestsWords = chartWords("Requests to Intercom", a, func(c column) int64 { return c.Requests }, a.Requests)
	return a
}

// outlying reports whether most columns would be next to nothing beside the highest, as beside a backfill's.
func outlying(list []bucket, most int64) bool {
	var some, low int
	for _, b := range list {
		if b.Rows > 0 {
			some++
			if 20*b.Rows < most {
				low++
			}
		}
	}
	return some > 2 && 2*low > some
}

func height(n, most int64, root bool) int {
	if n <= 0 || most <= 0 {
		return 0
	}
	share := float64(n) / float64(most)
	if root {
		share = math.Sqrt(share)
	}
	return max(leastBar, int(share*chartHeight+0.5))
}

// chartWords say a chart to who does not see it.
func chartWords(what string, a activity, of func(column) int64, sum int64) string {
	if sum == 0 || len(a.Buckets) == 0 {
		return fmt.Sprintf("%s by the %s: none", what, a.Unit)
	}
	most := slices.MaxFunc(a.Buckets, func(x, y column) int { return cmp.Compare(of(x), of(y)) })
	return fmt.Sprintf("%s by the %s from %s to now: %s in all, most of them at %s with %s", what, a.Unit, a.From, page.Count(sum), most.Label, page.Count(of(most)))
}
