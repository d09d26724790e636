package intercom

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"net/url"
	"strconv"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// listCursor is the position of a walk that Intercom's own cursor leads.
type listCursor struct {
	Done    bool   `json:"done,omitempty"`
	After   string `json:"after,omitempty"`   // Intercom's cursor
	Bound   int64  `json:"bound,omitempty"`   // only what changed since: older rows are dropped; 0 is a walk of all
	Seen    int    `json:"seen,omitempty"`    // different rows of this walk
	Total   int    `json:"total,omitempty"`   // least total_count told; 0 if none
	Walk    int    `json:"walk,omitempty"`    // walks that were broken off
	Recount int    `json:"recount,omitempty"` // walks that came out short
	Sent    int    `json:"sent,omitempty"`    // objects yielded, for Sample
}

// walkTries bounds how often a walk is started again because its cursor was refused or went in a
// circle, and recounts how often because it came out short.
const (
	walkTries = 4
	recounts  = 1
)

// listWalk follows Intercom's cursor through a list or an unbounded search.
type listWalk struct {
	client  *Client
	kind    record.Kind
	o       StreamOptions
	at      *listCursor
	call    func(*listCursor) call
	seen    idSet           // rows yielded in this run
	cursors map[string]bool // Intercom's cursors of this walk
}

func newListWalk(c *Client, kind record.Kind, o StreamOptions, at *listCursor, f func(*listCursor) call) *listWalk {
	return &listWalk{
		client: c, kind: kind, o: o, at: at, call: f,
		seen: newIDSet(), cursors: map[string]bool{at.After: true},
	}
}

// listCall asks for a page of a list by cursor.
func listCall(kind record.Kind, pageSize int, after string) call {
	q := url.Values{"per_page": {strconv.Itoa(pageSize)}}
	if after != "" {
		q.Set("starting_after", after)
	}
	return call{op: "list " + kind.Stream(), method: http.MethodGet, path: "/" + kind.Stream(), query: q}
}

func (w *listWalk) note(page *pipeline.Page[record.Object], what string, n int) {
	page.Counts.Add("intercom/"+w.kind.Stream()+"/"+what, int64(n))
}

// next reads one page and moves on.
func (w *listWalk) next(ctx context.Context) (pipeline.Page[record.Object], error) {
	var page pipeline.Page[record.Object]
	k := w.call(w.at)
	l, err := w.client.listAhead(ctx, k, w.cursors)
	if err != nil {
		var e *Error
		if w.at.After == "" || !errors.As(err, &e) || e.Class != ClassRequest || w.at.Walk >= walkTries {
			return page, err
		}
		w.again(&page, "cursor refused")
		return page, nil
	}
	page.Rejects = rejectRows(w.kind, l.bad)
	for _, r := range l.rows {
		fresh := w.seen.add(string(r.ID))
		if fresh {
			w.at.Seen++
		}
		if w.at.Bound != 0 && int64(r.UpdatedAt) < w.at.Bound {
			continue
		}
		if !fresh {
			w.note(&page, "listed twice", 1)
			continue
		}
		if w.o.Sample > 0 && w.at.Sent == w.o.Sample {
			break
		}
		o := w.client.object(w.kind, r, l.at, k.method+" "+k.path)
		page.Items = append(page.Items, o)
		w.at.Sent++
		page.Items = append(page.Items, MergedLeads(o)...)
	}
	if l.total >= 0 && (w.at.Total == 0 || l.total < w.at.Total) {
		w.at.Total = l.total
	}
	circle := l.next != "" && w.cursors[l.next]
	switch {
	case w.o.Sample > 0 && w.at.Sent >= w.o.Sample:
		w.at.Done = true
	case circle && w.at.Walk >= walkTries:
		return page, errCircle(k, w.at.Walk)
	case circle:
		w.again(&page, "pages in a circle")
	case l.next == "":
		w.finish(&page)
	default:
		w.at.After = l.next
		w.cursors[l.next] = true
	}
	return page, nil
}

// finish ends the walk, or begins it once more if it came out short.
func (w *listWalk) finish(page *pipeline.Page[record.Object]) {
	short := w.at.Total - w.at.Seen
	switch {
	case short <= 0:
		w.at.Done = true
	case w.at.Recount < recounts:
		w.note(page, "walked again: short", 1)
		w.restart()
		w.at.Recount++
	default:
		w.note(page, "short", short)
		w.at.Done = true
	}
}

// again starts the walk over.
func (w *listWalk) again(page *pipeline.Page[record.Object], why string) {
	w.note(page, "walked again: "+why, 1)
	w.client.opts.Log.Info("the list is walked again from the top", "stream", w.kind.Stream(), "why", why)
	w.restart()
	w.at.Walk++
}

func (w *listWalk) restart() {
	w.at.After, w.at.Total = "", 0
	w.at.Seen = w.seen.len() // of rows before this run only the number is known, and they come again
	w.cursors = map[string]bool{"": true}
}

// listAhead makes a request for a page. One that points back to where the walk has been is asked for
// once more, in case that was a slip.
func (c *Client) listAhead(ctx context.Context, k call, cursors map[string]bool) (listing, error) {
	l, err := c.list(ctx, k)
	if err == nil && l.next != "" && cursors[l.next] {
		l, err = c.list(ctx, k)
	}
	return l, err
}

func errCircle(k call, times int) error {
	return &Error{
		Op: k.op, Method: k.method, Path: k.path, Status: http.StatusOK, Class: ClassTemporary,
		Attempts: times, err: errors.New("the pages go round in a circle"),
	}
}

// idSet remembers ids by 64-bit hashes: 16 bytes or so an id, and one false hit in a walk of 10
// million is as likely as three in a million.
type idSet struct {
	seed maphash.Seed
	m    map[uint64]struct{}
}

func newIDSet() idSet { return idSet{seed: maphash.MakeSeed(), m: make(map[uint64]struct{})} }

// add reports whether id was not there before.
func (s idSet) add(id string) bool {
	h := maphash.String(s.seed, id)
	if _, ok := s.m[h]; ok {
		return false
	}
	s.m[h] = struct{}{}
	return true
}

func (s idSet) len() int { return len(s.m) }
