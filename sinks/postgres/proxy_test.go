package postgres

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a DB and the server, and breaks connections when it is told to.
type proxy struct {
	url      string // leads through the proxy
	network  string
	address  string // of the server
	listener net.Listener

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
	fault  fault
}

// fault says what happens to the next COMMIT that passes.
type fault int

const (
	none       fault = iota
	loseCommit       // it does not arrive
	loseAnswer       // it arrives, the answer does not
)

func newProxy(tb testing.TB, base string) *proxy {
	tb.Helper()
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{network: "tcp", address: u.Host}
	query := u.Query()
	if host := query.Get("host"); strings.HasPrefix(host, "/") {
		port := query.Get("port")
		p.network, p.address = "unix", host+"/.s.PGSQL."+port
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	p.url = u.String()
	var group sync.WaitGroup
	group.Go(func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(p.network, p.address)
			if err != nil {
				_ = client.Close()
				continue
			}
			if !p.keep(client, server) {
				continue
			}
			link := &link{proxy: p, client: client, server: server}
			group.Go(link.up)
			group.Go(link.down)
		}
	})
	tb.Cleanup(func() { p.cut(); group.Wait() })
	return p
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conns...)
	if p.closed {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	return !p.closed
}

// cut ends all connections and takes no new ones.
func (p *proxy) cut() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

func (p *proxy) take() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fault
	p.fault = none
	return f
}

// link is one connection through the proxy.
type link struct {
	proxy          *proxy
	client, server net.Conn
	mu             sync.Mutex
	mute           bool // what the server says is not passed on, but ends the connection
}

func (l *link) end() {
	_ = l.client.Close()
	_ = l.server.Close()
}

func (l *link) up() {
	defer l.end()
	buffer := make([]byte, 1<<16)
	for {
		n, err := l.client.Read(buffer)
		if n > 0 && bytes.Contains(buffer[:n], []byte("commit\x00")) {
			switch l.proxy.take() {
			case loseCommit:
				return
			case loseAnswer:
				l.mu.Lock()
				l.mute = true
				l.mu.Unlock()
			}
		}
		if n > 0 {
			if _, err := l.server.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) down() {
	defer l.end()
	buffer := make([]byte, 1<<16)
	for {
		n, err := l.server.Read(buffer)
		l.mu.Lock()
		mute := l.mute
		l.mu.Unlock()
		if mute || n == 0 && errors.Is(err, io.EOF) {
			return
		}
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}
