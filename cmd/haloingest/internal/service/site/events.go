package site

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/service/frame"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// Pages that are looked at follow what happens: for each organisation that somebody looks at, one watcher in the process asks the database about
// once a second whether anything has changed, however many look, and reads it anew only then.

const (
	watchEvery = time.Second
	// watchShare bounds what watching costs: after a reading that took a second, the next one begins five seconds later.
	watchShare    = 5
	heartbeat     = 15 * time.Second
	eventWithin   = 10 * time.Second // for one write to who looks
	reconnectWait = 2 * time.Second
	mostStreams   = 2000 // in one process
)

// watchers are those of all organisations.
type watchers struct {
	site *Site
	ctx  context.Context // ends all
	end  context.CancelFunc

	mu      sync.Mutex
	of      map[record.UUID]*watcher
	streams int
	running sync.WaitGroup
}

func newWatchers(s *Site) *watchers {
	ctx, end := context.WithCancel(context.Background())
	return &watchers{site: s, ctx: ctx, end: end, of: map[record.UUID]*watcher{}}
}

func (w *watchers) close() {
	w.end()
	w.running.Wait()
}

// watcher follows one organisation while somebody looks at it.
type watcher struct {
	stop context.CancelFunc

	mu     sync.Mutex
	seen   overviewView
	have   bool
	away   bool // the database cannot be reached; seen is what was last known
	number int  // goes up with each change
	news   chan struct{}
	look   int // how many do
}

// follow begins to look at an organisation; the function that it returns ends that. nil: too many do, or all is over.
func (w *watchers) follow(org record.UUID) (*watcher, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams >= mostStreams || w.ctx.Err() != nil {
		return nil, nil
	}
	x := w.of[org]
	if x == nil {
		ctx, stop := context.WithCancel(postgres.WithOrg(w.ctx, org))
		x = &watcher{stop: stop, news: make(chan struct{})}
		w.of[org] = x
		w.running.Add(1)
		go func() {
			defer w.running.Done()
			x.run(ctx, w.site, org)
		}()
	}
	x.look++
	w.streams++
	var once sync.Once
	return x, func() {
		once.Do(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.streams--
			if x.look--; x.look == 0 {
				delete(w.of, org)
				x.stop()
			}
		})
	}
}

// run looks until ctx is done.
func (x *watcher) run(ctx context.Context, s *Site, org record.UUID) {
	mark := ""
	for ctx.Err() == nil {
		began := time.Now()
		now, err := s.mark(ctx, org)
		if err == nil && (now != mark || x.isAway()) {
			var v overviewView
			if v, err = s.readOverview(ctx, org); err == nil {
				mark = now
				x.tell(v, false)
			}
		}
		if err != nil && ctx.Err() == nil {
			if !x.isAway() {
				s.o.Log.Warn("a page cannot be kept up to date", "org", org.String(), "error", err)
			}
			x.tell(overviewView{}, true)
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(watchEvery, watchShare*time.Since(began))):
		}
	}
}

func (x *watcher) isAway() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.away
}

// tell gives all who look something new.
func (x *watcher) tell(v overviewView, away bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if away && x.away {
		return
	}
	if !away {
		x.seen, x.have = v, true
	}
	x.away = away
	x.number++
	close(x.news)
	x.news = make(chan struct{})
}

// state is what is known, and a channel that is closed with the next change. number is 0 before anything is known.
func (x *watcher) state() (v overviewView, away bool, number int, news <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen, x.away, x.number, x.news
}

// events is the stream of one page: its regions, each when it has changed.
func (s *Site) events(w http.ResponseWriter, r *http.Request) error {
	org, err := orgOf(r)
	if err != nil {
		return err
	}
	x, end := s.watch.follow(org)
	if x == nil {
		w.Header().Set("Retry-After", "30")
		frame.Error(w, http.StatusServiceUnavailable, "Too many pages are open", "This page works as it is; reload it to see the present state.")
		return nil
	}
	defer end()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return nil // who asks for the head alone would wait on its connection for an end
	}
	control := http.NewResponseController(w)
	send := func(format string, args ...any) bool {
		_ = control.SetWriteDeadline(time.Now().Add(eventWithin)) // where that cannot be set, the server's own holds
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !send("retry: %d\n\n", reconnectWait.Milliseconds()) {
		return nil
	}
	sent := map[string]string{}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for number := 0; ; {
		v, away, n, news := x.state()
		if n != number {
			number = n
			regions, err := s.regions(r, v, away)
			if err != nil {
				s.o.Log.Error("a page cannot be kept up to date", "org", org.String(), "error", err)
				return nil
			}
			for id, html := range regions {
				if sent[id] == html {
					delete(regions, id)
					continue
				}
				sent[id] = html
			}
			if len(regions) > 0 {
				data, err := json.Marshal(regions)
				if err != nil || !send("event: regions\ndata: %s\n\n", data) {
					return nil
				}
			}
		}
		select {
		case <-r.Context().Done(): // who looked has gone, or may not look any more
			return nil
		case <-s.watch.ctx.Done():
			return nil
		case <-news:
		case <-beat.C:
			if !send(": still here\n\n") {
				return nil
			}
		}
	}
}

// regions are the parts of the page that change, by the ids of their places, for who looks.
func (s *Site) regions(r *http.Request, v overviewView, away bool) (map[string]string, error) {
	p := s.pages["overview"]
	if away {
		v.State = standing{Key: "away", Tone: "open", Head: "The database cannot be reached", Text: "What is shown below is what was last known. Work goes on by itself once the database is back, and so does this page."}
		v.Progress = nil
		html, err := p.Fragment("state", v)
		return map[string]string{"r-state": html}, err
	}
	conn := connection.Connection{}
	if v.Known {
		conn = v.Conn
	}
	v.head = headOf(r, v.Org, conn, v.Known, v.Rejects, "")
	names := map[string]string{"r-state": "state", "r-tabs": "tabs"}
	if v.Known {
		names["r-totals"], names["r-activity"], names["r-more"] = "totals", "activity", "more"
	}
	regions := make(map[string]string, len(names))
	for id, name := range names {
		html, err := p.Fragment(name, v)
		if err != nil {
			return nil, err
		}
		regions[id] = html
	}
	return regions, nil
}
