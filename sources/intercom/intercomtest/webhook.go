package intercomtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"haloingest/sources/webhook"
)

// Webhooks says how a workspace tells of its changes. URL and Secret are needed; the rest of the zero value sends each notification once, in
// order, when Deliver is called.
type Webhooks struct {
	URL    string
	Secret string
	// Shuffle sends in an order that has nothing to do with that of the changes; Duplicates is the share of notifications, in percent, that are sent
	// twice, with the same id; Lost the share that is never sent.
	Shuffle    bool
	Duplicates int
	Lost       int
	// Live sends a notification by itself, up to Delay after its change. Deliver waits for those.
	Live  bool
	Delay time.Duration
	// OldNames uses the names of topics that the integration's documentation has where they differ from today's.
	OldNames bool
	// IDs begins the ids of notifications; what follows is their number. "": the seed, so that equal workspaces send equal ids.
	IDs      string
	Parallel int          // deliveries under way at once, 1 if zero
	Client   *http.Client // http.DefaultClient if nil
}

// Delivered is what became of notifications.
type Delivered struct {
	Changes  int         // notifications made
	Sent     int         // requests
	Statuses map[int]int // answers by status; 0: none came
}

// outbox holds the notifications of a workspace.
type outbox struct {
	mu      sync.Mutex
	on      bool
	opts    Webhooks
	serial  int
	waiting [][]byte
	live    sync.WaitGroup
	done    Delivered
}

// SendWebhooks has all later changes told of. It may be called again with other options.
func (w *Workspace) SendWebhooks(o Webhooks) {
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	w.out.on, w.out.opts = o.URL != "", o
}

// Deliver sends what is waiting, waits for what is sent by itself, and gives what became of all notifications since the last call. One that
// was not answered with 200 is sent again, twice at most, as Intercom does.
func (w *Workspace) Deliver(ctx context.Context) Delivered {
	b := &w.out
	b.live.Wait()
	b.mu.Lock()
	list, o, serial := b.waiting, b.opts, b.serial
	b.waiting = nil
	b.mu.Unlock()
	r := newRNG(w.opts.Seed, streamWebhook, serial)
	for _, body := range list {
		if r.permille(10 * o.Duplicates) {
			list = append(list, body)
		}
	}
	if o.Shuffle {
		for i := len(list) - 1; i > 0; i-- {
			j := r.n(i + 1)
			list[i], list[j] = list[j], list[i]
		}
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, max(1, o.Parallel))
	for _, body := range list {
		slots <- struct{}{}
		wait.Go(func() {
			b.send(ctx, o, body)
			<-slots
		})
	}
	wait.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	done := b.done
	b.done = Delivered{}
	return done
}

func (b *outbox) send(ctx context.Context, o Webhooks, body []byte) {
	for range 3 {
		status := 0
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL, bytes.NewReader(body))
		if err == nil {
			req.Header.Set("Content-Type", "application/json; charset=utf-8")
			req.Header.Set("User-Agent", "intercom-parrot-service-client/1.0")
			req.Header.Set(webhook.SignatureHeader, webhook.Sign([]byte(o.Secret), body))
			var resp *http.Response
			if resp, err = o.Client.Do(req); err == nil {
				status = resp.StatusCode
				_ = resp.Body.Close() // it has none
			}
		}
		b.mu.Lock()
		if b.done.Statuses == nil {
			b.done.Statuses = map[int]int{}
		}
		b.done.Sent++
		b.done.Statuses[status]++
		b.mu.Unlock()
		if status == http.StatusOK || ctx.Err() != nil {
			return
		}
	}
}

// told makes the notification of a change. The caller holds no lock.
func (w *Workspace) told(topic string, item func(*encoder, *view)) {
	b := &w.out
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on {
		return
	}
	b.serial++
	b.done.Changes++
	r := newRNG(w.opts.Seed, streamWebhook, b.serial)
	if r.permille(10 * b.opts.Lost) {
		return
	}
	if old := oldNames[topic]; old != "" && b.opts.OldNames {
		topic = old
	}
	v := view{w: w, now: w.now(), version: mustVersion(w.opts.DefaultVersion), plain: true, tickets: true}
	var e encoder
	e.open()
	e.str("type", "notification_event")
	e.str("app_id", w.opts.AppID)
	e.object("data")
	e.str("type", "notification_event_data")
	e.key("item")
	item(&e, &v)
	e.close()
	e.raw("links", "{}")
	ids := b.opts.IDs
	if ids == "" {
		ids = fmt.Sprintf("notif_%08x-", uint32(w.opts.Seed))
	}
	e.str("id", ids+strconv.Itoa(b.serial))
	e.str("topic", topic)
	e.str("delivery_status", "pending")
	e.num("delivery_attempts", 1)
	e.num("delivered_at", 0)
	e.num("first_sent_at", v.now)
	e.num("created_at", v.now)
	e.null("self")
	e.close()
	if !b.opts.Live {
		b.waiting = append(b.waiting, e.b)
		return
	}
	o, body, delay := b.opts, e.b, time.Duration(0)
	if b.opts.Delay > 0 {
		delay = time.Duration(r.n(int(b.opts.Delay)))
	}
	times := 1
	if r.permille(10 * o.Duplicates) {
		times = 2
	}
	for range times {
		b.live.Add(1)
		time.AfterFunc(delay, func() {
			defer b.live.Done()
			b.send(context.Background(), o, body)
		})
	}
}

// oldNames are the documentation's names of topics that are called differently today.
var oldNames = map[string]string{
	"contact.user.created": "user.created", "contact.lead.created": "contact.created",
	"contact.user.updated": "contact.updated", "contact.lead.updated": "contact.updated",
}

func mustVersion(s string) version {
	v, _ := parseVersion(s) // withDefaults has checked it
	return v
}

// tellChange tells of a change to an object.
func (w *Workspace) tellChange(k Kind, i int, o op) {
	switch k {
	case Contacts:
		c := w.contact(i)
		topic := "contact." + c.role + ".updated"
		if o.kind == opCreate {
			topic = "contact." + c.role + ".created"
		}
		if o.kind == opMergedFrom {
			topic = "contact.merged"
		}
		w.told(topic, func(e *encoder, v *view) { e.contact(c, v) })
		var companies []int
		if json.Unmarshal(o.fields["companies"], &companies) == nil {
			for _, company := range slices.Compact(slices.Sorted(slices.Values(companies))) {
				w.told("company.contact.attached", func(e *encoder, v *view) {
					e.open()
					e.str("type", "company_contact")
					e.key("company")
					e.company(w.company(company), v)
					e.key("contact")
					e.contact(c, v)
					e.close()
				})
			}
		}
	case Companies:
		topic := "company.updated"
		if o.kind == opCreate {
			topic = "company.created"
		}
		w.told(topic, func(e *encoder, v *view) { e.company(w.company(i), v) })
	case Conversations:
		topic := map[opKind]string{
			opTouch: "conversation.read", opNote: "conversation.admin.noted", opClose: "conversation.admin.closed", opReopen: "conversation.admin.opened",
			opRedact: "conversation_part.redacted", opCreate: "conversation.user.created", opReply: "conversation.admin.replied",
		}[o.kind]
		if o.kind == opReply && o.by == "user" {
			topic = "conversation.user.replied"
		}
		w.told(topic, func(e *encoder, v *view) {
			c := w.conversation(i)
			if n := len(c.parts); n > 0 {
				c.parts = c.parts[n-1:] // only what is new, or nothing in particular
			}
			e.conversation(c, v, true)
		})
	default:
		topic := map[opKind]string{opTouch: "ticket.admin.assigned", opSet: "ticket.attribute.updated", opTicketState: "ticket.state.updated"}[o.kind]
		w.told(topic, func(e *encoder, v *view) { e.ticket(w.ticket(i), v) })
	}
}

// tellGone tells of a deletion, by identifying fields only.
func (w *Workspace) tellGone(k Kind, i int) {
	typ := map[Kind]string{Contacts: "contact", Companies: "company", Conversations: "conversation", Tickets: "ticket"}[k]
	w.told(typ+".deleted", func(e *encoder, _ *view) {
		e.open()
		e.str("type", typ)
		e.str("id", w.idOf(k, i))
		e.close()
	})
}
