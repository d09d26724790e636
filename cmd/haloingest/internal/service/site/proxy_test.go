package site

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// proxy stands between the pages and the database, and can be away.
type proxy struct {
	url string

	mu    sync.Mutex
	gone  bool
	conns map[net.Conn]bool
}

func newProxy(tb testing.TB, base string) *proxy {
	tb.Helper()
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	network, address := "tcp", u.Host
	query := u.Query()
	if host := query.Get("host"); strings.HasPrefix(host, "/") {
		network, address = "unix", host+"/.s.PGSQL."+query.Get("port")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	u.Host = listener.Addr().String()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	p := &proxy{url: u.String(), conns: map[net.Conn]bool{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil || !p.keep(client, server) {
				_ = client.Close()
				if err == nil {
					_ = server.Close()
				}
				continue
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				group.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = way[0].Close(), way[1].Close()
				})
			}
		}
	})
	tb.Cleanup(func() {
		p.away(true)
		_ = listener.Close()
		group.Wait()
	})
	return p
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.gone
}

// away cuts all connections and lets no new one through, or lets them through again.
func (p *proxy) away(gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = gone
	if gone {
		for c := range p.conns {
			_ = c.Close()
		}
		clear(p.conns)
	}
}
