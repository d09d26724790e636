package service

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate and its key in files, which may be renewed while the service runs. It is safe for concurrent use.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	changed [2]time.Time // when the files that are loaded were written
	pair    *tls.Certificate
}

// certificateLasts is how long the files are not looked at again.
const certificateLasts = 10 * time.Second

// openCertificate fails if the files are not a certificate and its key.
func openCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, log: log, looked: time.Now()}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// get is for tls.Config.GetCertificate. While files that have changed do not fit together, what was loaded before holds.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > certificateLasts {
		c.looked = now
		if err := c.load(); err != nil {
			c.log.Warn("the TLS certificate is not renewed", "error", err)
		}
	}
	return c.pair, nil
}

func (c *certificate) load() error {
	var changed [2]time.Time
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("TLS certificate: %w", err)
		}
		changed[i] = info.ModTime()
	}
	if c.pair != nil && changed == c.changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.pair, c.changed = &pair, changed
	return nil
}
