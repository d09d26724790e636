package intercom

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// PlanOptions say what is to be planned. The zero value is a whole backfill.
type PlanOptions struct {
	Kinds []record.Kind // all if empty
	Since time.Time     // only what changed
	// Sample is how many objects of a kind are looked at for their size, 10 if zero.
	Sample int
	// SkipCompanies leaves companies uncounted: counting them takes a scroll, a request per hundred.
	SkipCompanies bool
}

// Plan is what a walk would take. It is an estimate: sizes are those of the newest objects, and the workspace
// changes.
type Plan struct {
	Streams  []StreamPlan
	Requests int64
	Bytes    int64         // of raw objects
	Budget   int           // requests a minute that the headers and the ceiling allow; 0 if unknown
	Duration time.Duration // at that budget; 0 if unknown
	Asked    int64         // requests that the plan itself took
}

// StreamPlan is one stream's part of a Plan.
type StreamPlan struct {
	Kind     record.Kind
	Objects  int // -1 if not known
	Requests int64
	PerRow   int   // bytes of an object, as sampled
	Bytes    int64 // of all
	// Note says why Objects is not known, or why the stream would be skipped.
	Note string
}

// Plan counts without reading everything: a page of the newest rows per stream, with its total, and a
// few conversations for their size. Companies can only be counted by their scroll, which is read to its
// end without keeping anything: an open scroll keeps other integrations out for a minute, a finished one
// does not. If another scroll is open, they stay uncounted.
func (c *Client) Plan(ctx context.Context, o PlanOptions) (Plan, error) {
	var p Plan
	sample := cmp.Or(o.Sample, 10)
	before := c.Stats().Total
	kinds := o.Kinds
	if len(kinds) == 0 {
		kinds = record.Kinds[:]
	}
	for _, kind := range kinds {
		s := StreamPlan{Kind: kind, Objects: -1}
		var err error
		switch {
		case kind != record.KindCompany:
			err = c.planRows(ctx, &s, o.Since, sample)
		case o.SkipCompanies:
			s.Note = "not counted"
		default:
			err = c.planCompanies(ctx, &s)
		}
		var e *Error
		switch {
		case err == nil:
		case errors.As(err, &e) && (e.Class == ClassScope || e.Class == ClassBusy):
			s.Note = err.Error()
		default:
			return p, err
		}
		s.Bytes = int64(max(s.Objects, 0)) * int64(s.PerRow)
		p.Streams = append(p.Streams, s)
		p.Requests += s.Requests
		p.Bytes += s.Bytes
	}
	st := c.Stats()
	p.Asked = st.Total - before
	p.Budget = st.PerMinute
	if ceiling := c.opts.RequestsPerMinute; ceiling > 0 && (p.Budget == 0 || ceiling < p.Budget) {
		p.Budget = ceiling
	}
	if p.Budget > 0 {
		p.Duration = time.Duration(float64(p.Requests) / float64(p.Budget) * float64(time.Minute)).Round(time.Second)
	}
	return p, nil
}

// Count asks how many objects of a kind there are, or have changed since a time, in one request; -1 if
// Intercom does not tell. Companies it never tells: their only read-only list is the scroll.
func (c *Client) Count(ctx context.Context, kind record.Kind, since time.Time) (int, error) {
	if kind == record.KindCompany {
		return -1, nil
	}
	l, err := c.list(ctx, c.newest(kind, since, 1))
	return l.total, err
}

// newest asks for the newest rows of a kind, with the number of all of them.
func (c *Client) newest(kind record.Kind, since time.Time, rows int) call {
	k := call{op: "count " + kind.Stream(), method: http.MethodPost, path: "/" + kind.Stream() + "/search"}
	field, from := "created_at", int64(1)
	if !since.IsZero() {
		field, from = "updated_at", max(1, since.Unix())
	}
	if kind == record.KindContact && since.IsZero() {
		k.method, k.path = http.MethodGet, "/contacts"
		k.query = url.Values{"per_page": {strconv.Itoa(rows)}}
		return k
	}
	query := any(filter{field, ">", from})
	if kind == record.KindContact {
		query = anyOf(filter{field, ">", from}, filter{field, "=", from})
	}
	k.body = searchBody{Query: query, Sort: &searchSort{field, "descending"}, Pagination: searchPage{PerPage: rows}}
	return k
}

func (c *Client) planRows(ctx context.Context, s *StreamPlan, since time.Time, sample int) error {
	l, err := c.list(ctx, c.newest(s.Kind, since, sample))
	if err != nil {
		return err
	}
	s.Objects = l.total
	if l.total < 0 {
		s.Note = "Intercom does not tell how many there are"
		return nil
	}
	bytes, n := 0, 0
	for _, r := range l.rows {
		bytes, n = bytes+len(r.raw), n+1
	}
	if s.Kind == record.KindConversation {
		if bytes, n, err = c.sampleDetails(ctx, l.rows); err != nil {
			return err
		}
		s.Requests = int64(l.total)
	}
	if n > 0 {
		s.PerRow = bytes / n
	}
	s.Requests += int64(l.total+maxPage-1) / maxPage
	return nil
}

// sampleDetails reads conversations and returns their bytes.
func (c *Client) sampleDetails(ctx context.Context, rows []row) (bytes, n int, err error) {
	sizes := make([]int, len(rows))
	err = pipeline.ForEach(ctx, len(rows), 4, func(ctx context.Context, i int) error {
		o, err := c.read(ctx, record.KindConversation, string(rows[i].ID))
		if err != nil && ownFault(err) {
			return nil
		}
		sizes[i] = len(o.Body)
		return err
	})
	for _, size := range sizes {
		if size > 0 {
			bytes, n = bytes+size, n+1
		}
	}
	return bytes, n, err
}

func (c *Client) planCompanies(ctx context.Context, s *StreamPlan) error {
	var rows, bytes, pages int
	reset := func() error { rows, bytes, pages = 0, 0, 0; return nil }
	add := func(r reply) error {
		l, err := parseListing(r)
		if err != nil {
			return err
		}
		pages++
		rows += len(l.rows)
		for _, r := range l.rows {
			bytes += len(r.raw)
		}
		return nil
	}
	var counts pipeline.Counts
	if err := c.scroll(ctx, 0, reset, add, &counts); err != nil { // a plan does not wait for others
		return err
	}
	s.Objects, s.Requests = rows, int64(pages)
	if rows > 0 {
		s.Requests++ // the empty page at the end
		s.PerRow = bytes / rows
	}
	return nil
}
