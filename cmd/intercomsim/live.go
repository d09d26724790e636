package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/sources/intercom/intercomtest"
)

// webhookFlags say who is told of changes, and how often there is one.
func webhookFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "webhooks", Usage: "tell `URL` of every change by a signed webhook"},
		&cli.StringFlag{Name: "webhook-secret-file", Usage: "`FILE` with the secret that signs webhooks"},
		&cli.IntFlag{Name: "webhook-duplicates", Usage: "send `N` of a hundred webhooks twice"},
		&cli.IntFlag{Name: "webhook-lost", Usage: "never send `N` of a hundred webhooks"},
		&cli.DurationFlag{Name: "webhook-delay", Usage: "send webhooks up to `SPAN` after their change, and so out of order"},
		&cli.BoolFlag{Name: "webhook-old-names", Usage: "use the old names of topics where there are some"},
		&cli.StringFlag{Name: "changes", Value: "0", Usage: "keep changing the workspace, `N/min`: new conversations, replies, closings, contacts and tickets that change"},
	}
}

// webhooks reads the flags above. An answer that does not come within the five seconds that Intercom waits counts as none.
func webhooks(c *cli.Context) (o intercomtest.Webhooks, every time.Duration, err error) {
	perMinute, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(c.String("changes")), "/min"))
	if err != nil || perMinute < 0 || perMinute > 600_000 {
		return o, 0, fmt.Errorf("--changes %q: want a number of changes per minute such as 60/min", c.String("changes"))
	}
	if perMinute > 0 {
		every = time.Minute / time.Duration(perMinute)
	}
	for _, flag := range []string{"webhook-duplicates", "webhook-lost"} {
		if n := c.Int(flag); n < 0 || n > 100 {
			return o, 0, fmt.Errorf("--%s %d: want 0 to 100", flag, n)
		}
	}
	o = intercomtest.Webhooks{
		URL: c.String("webhooks"), Duplicates: c.Int("webhook-duplicates"), Lost: c.Int("webhook-lost"), Delay: c.Duration("webhook-delay"),
		OldNames: c.Bool("webhook-old-names"), Live: true,
		// Two processes that simulate the same workspace are not told apart by anything else.
		IDs:    fmt.Sprintf("notif_%016x-", rand.Uint64()),
		Client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	file := c.String("webhook-secret-file")
	switch u, uerr := url.Parse(o.URL); {
	case o.URL == "" && file != "":
		return o, 0, errors.New("--webhook-secret-file without --webhooks: name the address to send them to")
	case o.URL == "":
		return o, every, nil
	case uerr != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return o, 0, fmt.Errorf("--webhooks %q: want an address such as http://127.0.0.1:8080/api/integrations/intercom/webhook/ORG", o.URL)
	case file == "":
		return o, 0, errors.New("--webhooks without --webhook-secret-file: name the file with the secret that signs them")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return o, 0, fmt.Errorf("--webhook-secret-file: %w", err)
	}
	if o.Secret = strings.TrimSpace(string(b)); o.Secret == "" {
		return o, 0, fmt.Errorf("--webhook-secret-file %s is empty", file)
	}
	return o, every, nil
}

// keepChanging changes the workspace again and again until ctx is done. An object that a change does not fit is passed over.
func keepChanging(ctx context.Context, w *intercomtest.Workspace, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			change(w)
		}
	}
}

var sayings = []string{
	"Thank you, that was quick.", "I still see the same error when I export the report.", "Could you look at invoice 2041 again?",
	"We have found the cause and are working on it.", "Please try once more; it should be fixed now.", "How do I add another teammate?",
}

// change makes one change, of a kind that is as likely as in a workspace at work.
func change(w *intercomtest.Workspace) {
	text := sayings[rand.IntN(len(sayings))]
	one := func(k intercomtest.Kind, do func(id string)) {
		for _, id := range w.TouchRandom(k, 1) {
			do(id)
		}
	}
	switch n := rand.IntN(100); {
	case n < 20:
		one(intercomtest.Contacts, func(id string) { _, _ = w.CreateConversation(id, text) })
	case n < 65:
		by := []string{"user", "admin"}[rand.IntN(2)]
		one(intercomtest.Conversations, func(id string) { _, _ = w.Reply(id, by, text) })
	case n < 75:
		one(intercomtest.Conversations, func(id string) { _ = w.Close(id, text) })
	case n < 90:
		one(intercomtest.Contacts, func(id string) { _ = w.UpdateContact(id, map[string]any{"last_seen_at": time.Now().Unix()}) })
	default:
		states := []string{"in_progress", "waiting_on_customer", "resolved"}
		one(intercomtest.Tickets, func(id string) { _ = w.SetTicketState(id, states[rand.IntN(len(states))]) })
	}
}
