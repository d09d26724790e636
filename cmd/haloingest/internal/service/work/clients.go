package work

import (
	"context"
	"fmt"
	"sync"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

// clients keeps the API client of each organisation, with its connections and what it knows of the budget, and the reference data of passes over
// the inbox. A client is replaced when the token or the region is another one.
type clients struct {
	w  *Worker
	mu sync.Mutex
	by map[record.UUID]*kept
}

// kept is one organisation's.
type kept struct {
	client *intercom.Client
	names  *ingest.Names
	digest string // of the sealed token
	region string
	used   time.Time
	users  int
}

// idle is how long a client is kept that nobody uses.
const idle = 15 * time.Minute

func newClients(w *Worker) *clients { return &clients{w: w, by: make(map[record.UUID]*kept)} }

// get returns the client for a region and a sealed token of that digest; done gives it back.
func (c *clients) get(ctx context.Context, org record.UUID, region, digest string) (k *kept, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k = c.by[org]
	if k == nil || k.digest != digest || k.region != region {
		token, err := c.w.options.Connections.Token(ctx, org)
		if err != nil {
			return nil, nil, err
		}
		client, err := c.w.options.Client(region, token)
		if err != nil {
			return nil, nil, fmt.Errorf("make the client of %s: %w", org, err)
		}
		if k != nil && k.users == 0 {
			k.client.Close()
		}
		k = &kept{client: client, names: &ingest.Names{}, digest: digest, region: region}
		c.by[org] = k
	}
	k.users++
	return k, func() { c.release(org, k) }, nil
}

func (c *clients) release(org record.UUID, k *kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.users--
	k.used = time.Now()
	if k.users == 0 && c.by[org] != k {
		k.client.Close() // another one has taken its place meanwhile
	}
}

// sweep lets go of clients that nobody uses any more.
func (c *clients) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for org, k := range c.by {
		if k.users == 0 && time.Since(k.used) > idle {
			k.client.Close()
			delete(c.by, org)
		}
	}
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for org, k := range c.by {
		k.client.Close()
		delete(c.by, org)
	}
}

// runner makes the runner of the task's organisation with its present settings. The error is errOff where nothing may be read.
func (w *Worker) runner(ctx context.Context, t *task) (r *ingest.Runner, digest string, done func(), err error) {
	conn, err := w.options.Connections.Get(ctx, t.org)
	if err != nil {
		return nil, "", nil, err
	}
	if !conn.IngestEnabled || !conn.Connected {
		return nil, "", nil, errOff
	}
	if err := w.pool.QueryRow(ctx, `SELECT coalesce(md5(token), '') FROM ingest.connections WHERE org_id = $1`, [16]byte(t.org)).Scan(&digest); err != nil {
		return nil, "", nil, fmt.Errorf("look at the connection of %s: %w", t.org, err)
	}
	k, done, err := w.clients.get(ctx, t.org, conn.Region, digest)
	if err != nil {
		return nil, "", nil, err
	}
	r = &ingest.Runner{
		DB: w.db, Client: k.client.Share(), Connection: conn, Log: t.log, Names: k.names, Concurrency: w.options.Concurrency,
		Holder: fmt.Sprintf("%s on %s, job %d", t.row.Kind, w.options.Process, t.row.ID),
	}
	if w.options.Prepare != nil {
		if err := w.options.Prepare(r); err != nil {
			done()
			return nil, "", nil, fmt.Errorf("prepare a %s of %s: %w", t.row.Kind, t.org, err)
		}
	}
	r.Watch = noteRun(t, r.Watch)
	return r, digest, done, nil
}

// refused tells a token that does not work from all other errors.
func refused(err error, digest string) error {
	if class, ok := intercom.ClassOf(err); ok && class == intercom.ClassStop {
		return &badToken{err, digest}
	}
	return err
}
