package intercom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fileHosts are the domains from which Intercom serves what people have uploaded, they and all names below them:
// img-src, media-src and the uploads of connect-src in Intercom's help article 3894, "Using Intercom with Content
// Security Policy", for all three regions. intercom-mail.* is left out on purpose: it serves what e-mails track, and
// asking for that would count as a person's opening of one.
var fileHosts = [...]string{
	"intercomcdn.com", "intercomcdn.eu", // downloads., uploads., downloads.au., uploads.eu., gifs., video-messages., ...
	"intercomusercontent.com",
	"intercom-attachments.com", "intercom-attachments.eu", // also au.intercom-attachments.com
	"intercom-attachments-1.com", "intercom-attachments-2.com", "intercom-attachments-3.com",
	"intercom-attachments-4.com", "intercom-attachments-5.com", "intercom-attachments-6.com",
	"intercom-attachments-7.com", "intercom-attachments-8.com", "intercom-attachments-9.com",
	"intercomassets.com", "intercomassets.eu",
}

// isFileHost reports whether a host name is one of Intercom's for files.
func isFileHost(host string) bool {
	host = strings.ToLower(host)
	for _, domain := range fileHosts {
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}

// fileAddress decides which addresses are asked for files.
type fileAddress struct {
	// loopback is the host and port of a simulated workspace, "" if there is none: plain http is for it alone.
	loopback, scheme string
}

func newFileAddress(base *url.URL) fileAddress {
	if isLoopback(base.Hostname()) {
		return fileAddress{base.Host, base.Scheme}
	}
	return fileAddress{}
}

var errForeign = errors.New("not one of Intercom's")

// check returns why u is not asked. The text shows the host at most.
func (f fileAddress) check(u *url.URL) error {
	host := plain(u.Host, 100)
	switch {
	case u.User != nil || u.Opaque != "" || u.Host == "":
		return fmt.Errorf("the address is %w: it names no host, or a user", errForeign)
	case f.loopback != "" && u.Host == f.loopback && u.Scheme == f.scheme:
		return nil
	case !isFileHost(u.Hostname()):
		return fmt.Errorf("the host %s is %w", host, errForeign)
	case u.Scheme != "https":
		return fmt.Errorf("the address is %w: %s instead of https", errForeign, plain(u.Scheme, 20))
	case u.Port() != "" && u.Port() != "443":
		return fmt.Errorf("the port of %s is %w", host, errForeign)
	}
	return nil
}

// inside are ranges that no server of Intercom's has, beside those that netip names: they belong to this machine, to
// networks around it, or to nobody. Source: IANA's special-purpose address registries.
var inside = func() []netip.Prefix {
	var list []netip.Prefix
	for p := range strings.FieldsSeq(`0.0.0.0/8 100.64.0.0/10 192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24
		203.0.113.0/24 240.0.0.0/4 ::/96 100::/64 2001::/32 2001:db8::/32 2002::/16 fec0::/10`) {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// translated holds IPv4 addresses in its last four bytes (RFC 6052).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// isPublic reports whether an address may be a server's on the Internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range inside {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// errPrivate is a name of Intercom's that leads into a network of ours.
var errPrivate = errors.New("the name of its host leads to an address within a private network")

// newFileTransport dials file hosts. The address that a name has is looked at when it is dialled, so a name that
// leads inside is not followed. Where the environment names a proxy it is the proxy that is dialled, and it may be anywhere.
// A connection on which nothing arrives for as long as stall is given up.
func newFileTransport(f fileAddress, connections int, stall time.Duration) *http.Transport {
	var proxies sync.Map // host:port, as it is dialled
	guard := func(dialled string) func(string, string, syscall.RawConn) error {
		return func(_, address string, _ syscall.RawConn) error {
			if _, ok := proxies.Load(dialled); ok {
				return nil
			}
			to, err := netip.ParseAddrPort(address)
			switch {
			case err != nil:
				return errPrivate
			case dialled == f.loopback && to.Addr().Unmap().IsLoopback(), isPublic(to.Addr()):
				return nil
			}
			return errPrivate
		}
	}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			proxy, err := http.ProxyFromEnvironment(r)
			if proxy != nil {
				proxies.Store(hostPort(proxy), true)
			}
			return proxy, err
		},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second, Control: guard(address)}
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &patientConn{conn, stall}, nil
		},
		TLSHandshakeTimeout: 15 * time.Second,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     stall,
		DisableCompression:  true, // what is saved is what the file is
	}
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// patientConn gives up a read after a while without a byte.
type patientConn struct {
	net.Conn
	stall time.Duration
}

func (c *patientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}
