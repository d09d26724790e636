package ingest

import (
	"sync"
	"time"

	"haloingest/pipeline/record"
)

// Names keeps a workspace's reference data between passes over its inbox. The zero value is empty; nil keeps nothing. It is safe for
// concurrent use, and must not be shared by workspaces.
type Names struct {
	mu   sync.Mutex
	kept record.Reference
	at   time.Time // zero: nothing is kept
}

// namesLast is how long reference data is taken for the present one.
const namesLast = time.Minute

func (n *Names) get() (record.Reference, bool) {
	if n == nil {
		return record.Reference{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kept, !n.at.IsZero() && time.Since(n.at) < namesLast
}

func (n *Names) put(r record.Reference) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept, n.at = r, time.Now()
}
