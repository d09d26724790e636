package intercom

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// CompanyOptions of the company stream.
type CompanyOptions struct {
	// Sample stops the stream after so many companies, 0 is all. The scroll is read to its end all the
	// same, since an open one keeps other integrations out.
	Sample int
}

// Companies walks the company scroll, the only way to all companies with a read-only token. A scroll is
// gone after a minute without a call, and what takes the pages may be slower than that; so it is
// read to its end into a temporary file, and the pages are yielded from there. The file can be read by
// this account only and has no name from the moment it is made.
type Companies struct {
	client *Client
	o      CompanyOptions
}

// NewCompanies returns the stream of all companies.
func NewCompanies(c *Client, o CompanyOptions) *Companies { return &Companies{client: c, o: o} }

// Name is "companies".
func (s *Companies) Name() string { return record.KindCompany.Stream() }

// companyCursor says no more than how far a run had come: a scroll cannot be taken up again.
type companyCursor struct {
	Done bool `json:"done,omitempty"`
	Sent int  `json:"sent,omitempty"`
}

// scrollRestarts bounds how often a scroll that broke is begun again.
const scrollRestarts = 5

// Pages scrolls and yields. From any cursor but the last it begins at the top.
func (s *Companies) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		var at companyCursor
		if err := decodeCursor(s.Name(), from, &at); err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		if at.Done {
			return
		}
		spool, err := newSpool(s.client.opts.SpoolDir)
		if err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		defer spool.close()
		var counts pipeline.Counts
		if err := s.client.scroll(ctx, s.client.opts.ScrollPatience, spool.reset, spool.add, &counts); err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		s.yieldSpool(ctx, spool, counts, yield)
	}
}

func (s *Companies) yieldSpool(ctx context.Context, spool *spool, counts pipeline.Counts, yield func(pipeline.Page[record.Object], error) bool) {
	if err := spool.rewind(); err != nil {
		yield(pipeline.Page[record.Object]{}, err)
		return
	}
	var at companyCursor
	seen := newIDSet()
	for n := spool.pages; n > 0 && !at.Done; n-- {
		r, err := spool.next()
		if err == nil {
			err = context.Cause(ctx)
		}
		var l listing
		if err == nil {
			l, err = parseListing(r)
		}
		if err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		page := pipeline.Page[record.Object]{Rejects: rejectRows(record.KindCompany, l.bad), Counts: counts}
		counts = nil
		for _, row := range l.rows {
			if !seen.add(string(row.ID)) {
				page.Counts.Add("intercom/companies/listed twice", 1)
				continue
			}
			if s.o.Sample > 0 && at.Sent == s.o.Sample {
				break
			}
			page.Items = append(page.Items, s.client.object(record.KindCompany, row, l.at, "GET /companies/scroll"))
			at.Sent++
		}
		at.Done = n == 1 || s.o.Sample > 0 && at.Sent == s.o.Sample
		page.Cursor = encodeCursor(at)
		if !yield(page, nil) {
			return
		}
	}
}

// scroll reads the whole scroll, a page at a time, without a pause between pages: reset is called
// before each attempt and add with each page. A scroll that breaks is begun again; one that somebody
// else has open is waited for as long as patience says.
func (c *Client) scroll(ctx context.Context, patience time.Duration, reset func() error, add func(reply) error, counts *pipeline.Counts) error {
	ended := -1 // rows after which the last scroll was cut off by a 404
	for restart := 0; ; restart++ {
		if err := reset(); err != nil {
			return err
		}
		rows, idle, err := c.scrollOnce(ctx, patience, add)
		if err == nil {
			return nil
		}
		var e *Error
		if !errors.As(err, &e) || e.Op != scrollOp {
			return err
		}
		switch {
		case e.Class == ClassGone && rows > 0 && idle > c.opts.ScrollWait/2:
			// It has expired.
		case e.Class == ClassGone && rows > 0 && rows == ended:
			// Some have seen 404 where the scroll ends. Twice at the same place is believed.
			counts.Add("intercom/companies/scroll ended by 404", 1)
			return nil
		case e.Class == ClassGone && rows > 0:
			ended = rows
		case e.Class == ClassTemporary, e.Class == ClassUnreadable && e.Status != http.StatusNotFound:
		default:
			return err
		}
		if restart == scrollRestarts {
			return err
		}
		counts.Add("intercom/companies/scroll begun again", 1)
		c.opts.Log.WarnContext(ctx, "company scroll broke and is begun again", "rows", rows, "cause", err)
		if err := c.opts.Clock.Sleep(ctx, c.backoff(restart+1, e.retryAfter)); err != nil {
			return err
		}
	}
}

const scrollOp = "scroll companies"

// scrollOnce reads one scroll to its end. It returns how many rows came, and for how long the scroll
// had been idle when the last call ended.
func (c *Client) scrollOnce(ctx context.Context, patience time.Duration, add func(reply) error) (rows int, idle time.Duration, err error) {
	param := ""
	last := c.opts.Clock.Now()
	for {
		k := call{op: scrollOp, method: http.MethodGet, path: "/companies/scroll"}
		var r reply
		if param == "" {
			r, err = c.openScroll(ctx, patience, k)
		} else {
			// The server moves on with every call: one whose answer was lost cannot be repeated.
			k.query, k.once = url.Values{"scroll_param": {param}}, true
			r, err = c.do(ctx, k)
		}
		now := c.opts.Clock.Now()
		idle, last = now.Sub(last), now
		if err != nil {
			return rows, idle, err
		}
		l, err := parseListing(r)
		if err != nil {
			return rows, 0, &Error{Op: scrollOp, Method: k.method, Path: k.path, Status: http.StatusOK, Class: ClassUnreadable, Attempts: 1, err: err}
		}
		n := len(l.rows) + len(l.bad)
		if n > 0 || rows == 0 {
			if err := add(r); err != nil {
				return rows, 0, err
			}
		}
		rows += n
		if n == 0 {
			return rows, 0, nil
		}
		if l.scroll != "" {
			param = l.scroll
		}
		if param == "" {
			return rows, 0, &Error{Op: scrollOp, Method: k.method, Path: k.path, Status: http.StatusOK, Class: ClassUnreadable, Attempts: 1,
				err: errors.New("the answer lacks scroll_param")}
		}
	}
}

// openScroll makes the first call of a scroll, and waits while somebody else has one open, us
// included: a scroll that broke stays open until it expires.
func (c *Client) openScroll(ctx context.Context, patience time.Duration, k call) (reply, error) {
	k.once = true // a scroll whose first page was lost is open all the same
	begun := c.opts.Clock.Now()
	for {
		r, err := c.do(ctx, k)
		if class, ok := ClassOf(err); !ok || class != ClassBusy {
			return r, err
		}
		waited := c.opts.Clock.Now().Sub(begun)
		if waited+c.opts.ScrollWait > patience {
			return r, err
		}
		c.opts.Log.InfoContext(ctx, "another company scroll is open in this workspace; waiting for it to end",
			"waited", waited.Truncate(time.Second), "next try in", c.opts.ScrollWait)
		if err := c.opts.Clock.Sleep(ctx, c.opts.ScrollWait); err != nil {
			return r, err
		}
	}
}
