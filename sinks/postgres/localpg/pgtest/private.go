package pgtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"haloingest/sinks/postgres/localpg"
)

// Cluster is a server that belongs to one test.
type Cluster struct {
	tb      testing.TB
	options localpg.Options
	server  *localpg.Server
}

// Private starts a server with a cluster of its own for the test, which may stop and kill it, and which it is removed with. Its
// settings are those of a server that keeps what it was told to commit (unlike New's), which costs about a second.
func Private(tb testing.TB) *Cluster {
	tb.Helper()
	return PrivateWith(tb, localpg.Options{})
}

// PrivateWith is Private with options; DataDir is chosen here.
func PrivateWith(tb testing.TB, options localpg.Options) *Cluster {
	tb.Helper()
	options.DataDir = DataDir(tb)
	c := &Cluster{tb: tb, options: options}
	c.Start()
	tb.Cleanup(func() {
		if err := c.server.Close(); err != nil {
			tb.Errorf("%v", err)
		}
	})
	return c
}

// DataDir is a data directory for a private PostgreSQL, removed with everything that belongs to it when the test ends; whoever starts
// the server must have stopped it by then. Unlike tb.TempDir it is open to the account that runs the server in place of root, so that
// the server keeps its files in it.
func DataDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "hi")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		tb.Fatalf("make a data directory: %v", err)
	}
	tb.Cleanup(func() {
		for _, name := range []string{"cluster", "s"} {
			if target, err := os.Readlink(filepath.Join(dir, "postgres", name)); err == nil {
				os.RemoveAll(target)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove the data directory: %v", err)
		}
	})
	return dir
}

// URL is the connection string of the server's database. It stays the same over Kill and Start.
func (c *Cluster) URL() string { return c.server.URL() }

// Server is the handle of the running server, for the rest of what it tells.
func (c *Cluster) Server() *localpg.Server { return c.server }

// Start starts the server again after Stop or Kill.
func (c *Cluster) Start() {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := localpg.Start(ctx, c.options)
	if err != nil {
		unavailable(c.tb, err)
	}
	c.server = server
}

// Stop shuts the server down in order; connections are broken off.
func (c *Cluster) Stop() {
	c.tb.Helper()
	if err := c.server.Close(); err != nil {
		c.tb.Fatal(err)
	}
}

// Kill ends the server as a power cut would: everything that is not on disk is lost. It returns when no process of it is left.
func (c *Cluster) Kill() {
	c.tb.Helper()
	// An immediate shutdown writes nothing and ends every process at once. kill -9 to the server process alone would leave the others
	// running for a moment.
	pid := c.server.PID()
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil && !errors.Is(err, syscall.ESRCH) {
		c.tb.Fatalf("kill the server: %v", err)
	}
	deadline := time.Now().Add(patience)
	for c.server.Alive() {
		if time.Now().After(deadline) {
			c.tb.Fatalf("server process %d has not ended", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.Stop() // gives up the use of what is not there any more
}
