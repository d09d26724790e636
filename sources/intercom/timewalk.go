package intercom

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Conversations and tickets are searched in windows of time [lo, hi), in the order of created_at, or of
// updated_at where only changes are wanted, up to an end that is fixed when the walk begins. So
// nothing that happens while it goes on moves a row into it, and what moves out of it is the
// next sync's.
//
//   - Intercom's cursor only leads within a window, and a window is at most about maxDepth pages, since
//     deep pages are slow (fact sheet, section 2.3). Its width is predicted from the density of
//     the window before; a window that turns out too full is narrowed by its total_count, which costs one
//     request.
//   - Whether > and < include the bound is not settled, so a window asks for > lo-1 and < hi, which is
//     right if they do not and one second too much on either side if they do; what is outside is dropped.
//   - At the end of a window, the rows seen are compared with total_count; if there are fewer, it is
//     listed again, and if that does not help, the shortfall is counted.
//   - The position after a page is the second of its last row and the ids seen of that second. That
//     holds while rows come in order; where they do not, the position stays at the window's start.
const (
	maxDepth    = 25 // pages
	targetDepth = 15 // pages that a predicted window should have
	growth      = 16 // how much wider than the last a window may be
	relists     = 2  // listings of a short window beyond the first
	maxReopened = 4  // times that a window may be opened again without progress
	maxHeld     = 5000
	maxEmpty    = 50 // empty pages in a row with a next one

	timeOverlap = 5 * time.Minute
)

// Search walks conversations or tickets through Intercom's search.
type Search struct {
	client *Client
	kind   record.Kind
	o      StreamOptions
}

// NewConversations returns the stream of all conversations, or, with Since, of those that changed, as rows
// without parts: see Details.
func NewConversations(c *Client, o StreamOptions) *Search {
	return &Search{client: c, kind: record.KindConversation, o: o}
}

// NewTickets returns the stream of all tickets, or, with Since, of those that changed.
func NewTickets(c *Client, o StreamOptions) *Search {
	return &Search{client: c, kind: record.KindTicket, o: o}
}

// Name is "conversations" or "tickets".
func (s *Search) Name() string { return s.kind.Stream() }

// timeCursor is the position of a time walk. Times are unix seconds.
type timeCursor struct {
	Done    bool     `json:"done,omitempty"`
	Changed bool     `json:"changed,omitempty"` // by updated_at rather than created_at
	Until   int64    `json:"until,omitempty"`   // end of the walk, not included
	From    int64    `json:"from,omitempty"`    // everything before it is committed
	Held    []string `json:"held,omitempty"`    // committed ids of the second From
	Rate    float64  `json:"rate,omitempty"`    // rows a second in the last window; 0 is not known
	Width   int64    `json:"width,omitempty"`   // of the last window
	Sent    int      `json:"sent,omitempty"`    // objects yielded, for Sample
	Relist  int      `json:"relist,omitempty"`  // listings of the open window that came out short

	// The open window, if Hi is not 0.
	Lo    int64 `json:"lo,omitempty"`
	Hi    int64 `json:"hi,omitempty"`
	Total int   `json:"total,omitempty"` // most that total_count said of it
	Seen  int   `json:"seen,omitempty"`  // its rows before From, and those of Held

	List *listCursor `json:"list,omitempty"` // where search is refused: the plain list
}

// Pages walks from a cursor on.
func (s *Search) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		w := timeWalk{Search: s}
		if err := w.begin(ctx, from); err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		for !w.at.Done {
			page, err := w.next(ctx)
			if err == nil {
				page.Cursor = encodeCursor(w.at)
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

type timeWalk struct {
	*Search
	at timeCursor

	// The open window.
	known    map[string]int64 // rows that this run has seen of it, with their second
	before   int              // rows that former runs have seen, before the second at which this one entered it
	entered  int64            // that second
	last     int64            // second of the last row of this listing
	after    string           // Intercom's cursor
	cursors  map[string]bool  // that have been used
	depth    int              // pages of this listing
	empty    int              // empty pages in a row
	ordered  bool             // rows come by time
	reopened int              // times, without progress

	list *listWalk
}

func (w *timeWalk) begin(ctx context.Context, from pipeline.Cursor) error {
	if err := decodeCursor(w.Name(), from, &w.at); err != nil {
		return err
	}
	if from == nil {
		until := w.o.Until
		if until.IsZero() {
			var err error
			if until, err = w.client.ServerTime(ctx); err != nil {
				return err
			}
		}
		w.at.Until, w.at.From = until.Unix(), 1
		if !w.o.Since.IsZero() {
			overlap := w.o.Overlap
			if overlap <= 0 {
				overlap = timeOverlap
			}
			w.at.Changed = true
			w.at.From = max(1, w.o.Since.Add(-overlap).Unix())
		}
		w.at.Done = w.at.From >= w.at.Until
	}
	switch {
	case w.at.List != nil:
		w.startList()
	case w.at.Hi != 0:
		w.enter()
	}
	return nil
}

func (w *timeWalk) field() string {
	if w.at.Changed {
		return "updated_at"
	}
	return "created_at"
}

func (w *timeWalk) second(r row) int64 {
	if w.at.Changed {
		return int64(r.UpdatedAt)
	}
	return int64(r.CreatedAt)
}

func (w *timeWalk) note(page *pipeline.Page[record.Object], what string, n int) {
	page.Counts.Add("intercom/"+w.Name()+"/"+what, int64(n))
}

// open begins a window at From, as wide as the density of the last one suggests.
func (w *timeWalk) open() {
	left := w.at.Until - w.at.From
	width := left
	if w.at.Rate > 0 {
		rows := float64(targetDepth * w.o.pageSize())
		if predicted := rows / w.at.Rate; predicted < float64(left) {
			width = max(1, int64(predicted))
		}
		width = min(width, left, max(1, w.at.Width)*growth)
	}
	w.at.Lo, w.at.Hi = w.at.From, w.at.From+width
	w.at.Total, w.at.Seen, w.at.Relist = 0, 0, 0
	w.enter()
}

// enter begins to list the open window from From on, in this run for the first time.
func (w *timeWalk) enter() {
	w.known = make(map[string]int64)
	for _, id := range w.at.Held {
		w.known[id] = w.at.From
	}
	w.before, w.entered = w.at.Seen-len(w.at.Held), w.at.From
	w.ordered, w.reopened = true, 0
	w.reopen()
}

// reopen lists the open window from From on, without what Intercom's cursor knew.
func (w *timeWalk) reopen() {
	w.after, w.depth, w.empty = "", 0, 0
	w.last = w.at.From
	w.cursors = map[string]bool{"": true}
}

func (w *timeWalk) call() call {
	return call{
		op: "search " + w.Name(), method: http.MethodPost, path: "/" + w.Name() + "/search",
		body: searchBody{
			Query: allOf(
				filter{w.field(), ">", w.at.From - 1},
				filter{w.field(), "<", w.at.Hi},
			),
			Sort:       &searchSort{Field: w.field(), Order: "ascending"},
			Pagination: searchPage{PerPage: w.o.pageSize(), StartingAfter: w.after},
		},
	}
}

// next reads until there is a page to be yielded.
func (w *timeWalk) next(ctx context.Context) (pipeline.Page[record.Object], error) {
	var page pipeline.Page[record.Object]
	for {
		if w.list != nil {
			return w.nextOfList(ctx)
		}
		if w.at.Hi == 0 {
			w.open()
		}
		k := w.call()
		l, err := w.client.listAhead(ctx, k, w.cursors)
		if err != nil {
			var e *Error
			switch {
			case !errors.As(err, &e) || e.Class != ClassRequest && e.Class != ClassGone:
				return page, err
			case w.after != "" && w.reopened < maxReopened:
				w.note(&page, "window opened again: cursor refused", 1)
				w.reopened++
				w.reopen()
				continue
			case w.after == "" && w.at.Sent == 0 && w.kind == record.KindConversation:
				w.note(&page, "listed, since search is refused", 1)
				w.client.opts.Log.WarnContext(ctx, "search is refused; conversations are listed without it", "cause", err)
				w.at.List = &listCursor{}
				if w.at.Changed {
					w.at.List.Bound = w.at.From
				}
				w.startList()
				return page, nil
			}
			return page, err
		}
		if w.after == "" && w.narrow(l) {
			continue
		}
		w.take(&page, l, k.method+" "+k.path)
		return page, w.move(&page, l, k)
	}
}

// narrow makes the window smaller if it holds more than can be paged well, by what its first page
// tells: where rows begin, and how dense they are there.
func (w *timeWalk) narrow(l listing) bool {
	most := maxDepth * w.o.pageSize()
	if l.total <= most || w.at.Hi-w.at.From <= 1 || w.at.Seen > 0 || w.at.Relist > 0 {
		return false
	}
	first, last := int64(0), int64(0)
	for _, r := range l.rows {
		at := w.second(r)
		if at < last {
			first, last = 0, 0 // not in order: nothing is known but the total
			break
		}
		if first == 0 {
			first = at
		}
		last = at
	}
	if first > w.at.From && first < w.at.Hi {
		w.at.From, w.at.Held = first, nil
	}
	target := float64(targetDepth * w.o.pageSize())
	width := float64(w.at.Hi-w.at.From) * target / float64(l.total)
	if last > first {
		// The density of the first page is nearer to that of the window than the mean of what may be
		// years; but it must not make the window wider than half of what was too wide.
		near := target * float64(last-first) / float64(len(l.rows))
		width = min(near, float64(w.at.Hi-w.at.From)/2)
	}
	w.at.Lo = w.at.From
	w.at.Hi = w.at.From + max(1, int64(width))
	w.enter()
	return true
}

// take makes objects of the rows that belong to the window and are not known yet.
func (w *timeWalk) take(page *pipeline.Page[record.Object], l listing, request string) {
	page.Rejects = append(page.Rejects, rejectRows(w.kind, l.bad)...)
	for _, r := range l.rows {
		at, id := w.second(r), string(r.ID)
		if at != 0 && at < w.entered && w.entered != w.at.Lo {
			continue // counted by the run that saw it first
		}
		_, known := w.known[id]
		// A row whose time cannot be read is where Intercom found it.
		inside := at == 0 || at >= w.at.Lo && at < w.at.Hi
		if inside && !known && w.o.Sample > 0 && w.at.Sent == w.o.Sample {
			return
		}
		if inside && at > w.last {
			w.last = at
		}
		if known {
			continue
		}
		w.known[id] = at
		if inside {
			page.Items = append(page.Items, w.client.object(w.kind, r, l.at, request))
			w.at.Sent++
			if at != 0 && at < w.last {
				w.ordered = false
			}
		}
	}
}

// move sets the position behind a page that was taken.
func (w *timeWalk) move(page *pipeline.Page[record.Object], l listing, k call) error {
	w.depth++
	w.at.Total = max(w.at.Total, l.total)
	if w.o.Sample > 0 && w.at.Sent >= w.o.Sample {
		w.at.Done = true
		return nil
	}
	progress := false
	if w.ordered {
		progress = w.advance()
	}
	if progress {
		w.reopened = 0
	}
	if w.empty++; len(l.rows) > 0 {
		w.empty = 0
	}
	switch {
	case l.next == "":
		w.close(page)
	case w.cursors[l.next] || w.empty > maxEmpty:
		if w.reopened == maxReopened {
			return errCircle(k, w.reopened)
		}
		w.note(page, "window opened again: pages in a circle", 1)
		w.reopened++
		w.reopen()
	case w.depth >= 2*maxDepth && progress && len(w.at.Held) <= w.o.pageSize():
		w.reopen() // rows are so many that the pages get deep; begin again where we are
	default:
		w.after = l.next
		w.cursors[l.next] = true
	}
	return nil
}

// advance moves From to the second of the last row.
func (w *timeWalk) advance() bool {
	moved := w.last > w.at.From
	w.at.From, w.at.Held, w.at.Seen = w.last, nil, w.before
	for id, at := range w.known {
		if at <= w.last {
			w.at.Seen++
		}
		if at == w.last {
			w.at.Held = append(w.at.Held, id)
		}
	}
	if len(w.at.Held) > maxHeld {
		// Too many to be kept: a resumed run reads this second again.
		w.at.Seen -= len(w.at.Held)
		w.at.Held = nil
	}
	slices.Sort(w.at.Held)
	return moved
}

// close ends the listing of a window, and the window if it is whole.
func (w *timeWalk) close(page *pipeline.Page[record.Object]) {
	seen := w.before + len(w.known)
	if short := w.at.Total - seen; short > 0 {
		if w.at.Relist < relists {
			w.note(page, "window listed again: short", 1)
			w.at.Relist++
			w.at.From, w.at.Held, w.at.Total, w.at.Seen = w.at.Lo, nil, 0, 0
			w.before, w.entered = 0, w.at.Lo
			w.reopen()
			return
		}
		w.note(page, "short", short)
	}
	width := w.at.Hi - w.at.Lo
	w.at.Rate, w.at.Width = float64(seen)/float64(width), width
	w.at.From, w.at.Held = w.at.Hi, nil
	w.at.Lo, w.at.Hi, w.at.Total, w.at.Seen, w.at.Relist = 0, 0, 0, 0, 0
	w.at.Done = w.at.From >= w.at.Until
	w.known = nil
}

// startList goes over to the plain list, which is in no order that we know.
func (w *timeWalk) startList() {
	w.list = newListWalk(w.client, w.kind, w.o, w.at.List, func(at *listCursor) call {
		return listCall(w.kind, w.o.pageSize(), at.After)
	})
}

func (w *timeWalk) nextOfList(ctx context.Context) (pipeline.Page[record.Object], error) {
	page, err := w.list.next(ctx)
	w.at.Done = w.at.List.Done
	return page, err
}
