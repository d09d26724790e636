package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"haloingest/pipeline/record"
)

// Path is where the handler is mounted, as a pattern of http.ServeMux. It takes every method, and answers 405 for those that it does not know.
const Path = "/api/integrations/intercom/webhook/{orgId}"

// MaxBody is how large a body may be, in bytes.
const MaxBody = 1 << 20

// Keys are what an organisation's deliveries are checked with.
type Keys struct {
	// Secrets are those that sign now: the present one and, for a while after it was replaced, the one before. None: every delivery is refused.
	Secrets   [][]byte
	Workspace string // Intercom's id of it; "" if it is not known
	Off       bool   // ingest is turned off
}

// Keyring knows the organisations' keys.
type Keyring interface {
	// Keys returns the zero Keys for an organisation that is not known. What is a few seconds old will do, unless fresh is set: then a
	// signature did not fit, and may fit a secret that was set a moment ago. Many senders can cause that, so the implementation
	// bounds how often it looks. It must take as long for an organisation that is not there as for one that is.
	Keys(ctx context.Context, org record.UUID, fresh bool) (Keys, error)
}

// Options configures a Handler. The zero value works.
type Options struct {
	Log *slog.Logger // nil: nothing is logged
	// Stored is called after each commit with the organisations whose inbox has something new or had it before, by one of several goroutines.
	// It must be quick. A process may die before the call: whoever drains must look at the inboxes from time to time as well.
	Stored      func(orgs []record.UUID)
	Writers     int           // transactions under way at once; 0: 2
	ReadWithin  time.Duration // for the whole body; 0: 4 s
	WriteWithin time.Duration // for the commit, a second try included; 0: 4 s, as Intercom gives a delivery up after 5
}

// Handler receives webhooks: limits, secret, HMAC over the raw bytes, durable insert, 200. Nothing of a body is looked at before its signature
// has been verified, and no content encoding is ever undone: what is signed is what was sent, so there is nothing that could unpack to more than
// it is. Headers, idle connections and their number are for the server to limit.
//
//	200  stored, or stored before; or a topic that needs no work, another workspace's event, or ingest is off: nothing is stored then
//	400  the body ended early, or did not come in time
//	401  signature missing or wrong, organisation unknown or without a secret; nothing is stored
//	405  neither POST nor HEAD (which Intercom sends when the address is saved, and which is always answered 200)
//	413  body over MaxBody
//	503  the database cannot be reached
//
// It is safe for concurrent use. Close it after the server has been shut down.
type Handler struct {
	keys     Keyring
	batcher  *batcher
	log      *slog.Logger
	read     time.Duration
	outcomes [outcomeCount]atomic.Int64
}

// outcome is what became of a request.
type outcome int

const (
	accepted    outcome = iota // durable, or durable already
	kept                       // durable and put aside: no object can be read off it
	ignored                    // topic that needs no work
	foreign                    // another workspace's
	off                        // ingest is turned off
	refused                    // 401
	tooLarge                   // 413
	broken                     // 400
	wrongMethod                // 405
	unavailable                // 503
	checked                    // HEAD
	outcomeCount
)

var outcomeNames = [outcomeCount]string{"accepted", "kept", "ignored", "foreign", "off", "refused", "too_large", "broken", "wrong_method", "unavailable", "checked"}

// New returns a handler with its writers running.
func New(keys Keyring, inbox Inbox, o Options) *Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Writers <= 0 {
		o.Writers = 2
	}
	if o.ReadWithin <= 0 {
		o.ReadWithin = 4 * time.Second
	}
	if o.WriteWithin <= 0 {
		o.WriteWithin = 4 * time.Second
	}
	return &Handler{keys: keys, batcher: newBatcher(inbox, o.Writers, o.WriteWithin, o.Stored), log: o.Log, read: o.ReadWithin}
}

// Close waits until what is on its way is durable. Requests that come later are answered 503. It may be called again.
func (h *Handler) Close() { h.batcher.close() }

// Outcomes counts requests since New by what became of them: accepted, kept, ignored, foreign, off, refused, too_large, broken, wrong_method,
// unavailable, checked. Duplicates are among the accepted.
func (h *Handler) Outcomes() map[string]int64 {
	m := make(map[string]int64, outcomeCount)
	for i, name := range outcomeNames {
		m[name] = h.outcomes[i].Load()
	}
	return m
}

var statuses = [outcomeCount]int{
	accepted: http.StatusOK, kept: http.StatusOK, ignored: http.StatusOK, foreign: http.StatusOK, off: http.StatusOK, refused: http.StatusUnauthorized,
	tooLarge: http.StatusRequestEntityTooLarge, broken: http.StatusBadRequest, wrongMethod: http.StatusMethodNotAllowed,
	// The one answer that asks for a repetition. Our own backlog is no reason for it, since nothing is worked on here; but what could not be
	// stored would be lost by a 200, and Intercom sends it again after a minute or so.
	unavailable: http.StatusServiceUnavailable, checked: http.StatusOK,
}

// ServeHTTP answers one request. The organisation is the path value "orgId" of Path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o := h.serve(w, r)
	h.outcomes[o].Add(1)
	if o == wrongMethod {
		w.Header().Set("Allow", "POST, HEAD")
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(statuses[o])
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) outcome {
	switch r.Method {
	case http.MethodHead:
		return checked
	case http.MethodPost:
	default:
		return wrongMethod
	}
	body, err := h.body(w, r)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge
	case err != nil:
		return broken
	}
	org, header := orgOf(r), r.Header.Get(SignatureHeader)
	if len(r.Header.Values(SignatureHeader)) != 1 {
		header = "" // two signatures are none
	}
	keys, err := h.verified(r.Context(), org, body, header)
	switch {
	case errors.Is(err, ErrSignature):
		return refused
	case err != nil:
		h.log.Error("webhook refused: the keys cannot be read", "error", err)
		return unavailable
	case keys.Off:
		// Whoever turns ingest off wants nothing of the workspace stored. An error would have Intercom suspend the subscription; what is missed is
		// found by the first sync after ingest is on again.
		return off
	}
	n := Parse(body)
	switch {
	case n.AppID != "" && keys.Workspace != "" && n.AppID != keys.Workspace:
		return foreign // an app sends the events of every workspace that installed it to one address
	case n.Topic != "" && !Known(n.Topic):
		return ignored
	}
	d := record.Delivery{Org: org, ID: n.ID, Topic: n.Topic, Objects: n.Objects, Gone: n.Gone, Problem: n.Problem, Body: body}
	if err := h.batcher.accept(r.Context(), d); err != nil {
		if r.Context().Err() == nil {
			h.log.Error("webhook refused: it cannot be stored", "org", org.String(), "error", err)
		}
		return unavailable
	}
	if d.Problem != "" {
		h.log.Warn("webhook stored and put aside", "org", org.String(), "topic", d.Topic, "why", d.Problem)
		return kept
	}
	return accepted
}

// body reads the whole body, within its limits of size and time.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) (whole []byte, err error) {
	if r.ContentLength > MaxBody {
		w.Header().Set("Connection", "close") // instead of reading on only to find the next request
		return nil, &http.MaxBytesError{Limit: MaxBody}
	}
	// A server's own timeout is for all of its routes. Where the connection knows no deadlines, that one has to do.
	control := http.NewResponseController(w)
	if control.SetReadDeadline(time.Now().Add(h.read)) == nil {
		defer func() {
			if err == nil {
				_ = control.SetReadDeadline(time.Time{}) // the server sets its own for the next request
			}
			// Else it stays: before it answers, the server reads on, to find the next request, and would wait for what does not come.
		}()
	}
	// A length that is only claimed takes no memory.
	buf := make([]byte, 0, min(max(r.ContentLength, 511), 16<<10)+1)
	in := http.MaxBytesReader(w, r.Body, MaxBody)
	for {
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// orgOf is the organisation that the path names, or zero, which nobody has.
func orgOf(r *http.Request) record.UUID {
	org, err := record.ParseUUID(r.PathValue("orgId"))
	if err != nil {
		return record.UUID{}
	}
	return org
}

// nobody's secret stands in where there is none, so that the same is computed for an organisation that is not there.
var nobody = []byte("there is no organisation of this id")

// verified returns the organisation's keys if the signature fits one of them; ErrSignature if it does not.
func (h *Handler) verified(ctx context.Context, org record.UUID, body []byte, header string) (Keys, error) {
	for _, fresh := range []bool{false, true} {
		keys, err := h.keys.Keys(ctx, org, fresh)
		if err != nil {
			return Keys{}, err
		}
		good := false
		// Two secrets are tried in any case.
		for i := range max(2, len(keys.Secrets)) {
			secret := nobody
			if i < len(keys.Secrets) && len(keys.Secrets[i]) > 0 {
				secret = keys.Secrets[i]
			}
			fits := Verify(secret, body, header) == nil
			good = good || fits && i < len(keys.Secrets) && len(keys.Secrets[i]) > 0
		}
		if good {
			return keys, nil
		}
	}
	return Keys{}, ErrSignature
}
