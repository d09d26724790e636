package service

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/sources/intercom"
)

// DefaultListen is where the service listens unless it is told otherwise: this machine alone reaches it.
const DefaultListen = "127.0.0.1:8080"

// Config is what an operator says of the service. Database and Master are needed.
type Config struct {
	Database string // connection string
	Master   secret.MasterKey

	Listen string // address and port; "": DefaultListen; port 0 takes a free one
	// PublicURL is how people and Intercom reach the service: scheme and host alone. "": by the address that it listens on.
	PublicURL         string
	CertFile, KeyFile string // "": plain http
	// Proxies are whose word is taken for the address of who asks (X-Forwarded-For).
	Proxies []netip.Prefix

	MetricsListen string      // an address for /metrics alone; "": see MetricsToken
	MetricsToken  secret.Text // what a scraper shows; empty: /metrics is for this machine alone
	TraceEndpoint string      // see metric.TracingOptions

	OIDC           *access.OIDC // nil: by password only
	Idle, Lifetime time.Duration

	Intercom intercom.Options // of all clients; Log and Wrap are set here
	// Work is what an operator says of the workers; what they work with is set here.
	Work work.Options

	// StopDelay is how long a process that is asked to end says so on /readyz before it accepts no more: for load balancers that look there.
	StopDelay time.Duration

	Version string // of this program
	Log     *slog.Logger
	// Started is called once requests are answered. With an error, the service ends. nil: nobody is told.
	Started func(Started) error
}

// Started is what is to be told to who started the service, and to nobody else.
type Started struct {
	URL        string `json:"url"`                   // where people reach it
	Local      string `json:"local_url"`             // where this machine reaches it
	MetricsURL string `json:"metrics_url,omitempty"` // "": figures are not served
	FirstLink  string `json:"first_link,omitempty"`  // at which the first person sets a password, for an hour; "": there is somebody already
}

// SettingError is a setting of Config that cannot be used. It is named by its flag.
type SettingError struct{ Flag, Value, Want string }

func (e *SettingError) Error() string {
	return fmt.Sprintf("--%s %q: want %s", e.Flag, e.Value, e.Want)
}

// Validate returns a *SettingError if there is something that cannot be used, before anything is opened.
func (c Config) Validate() error {
	for flag, address := range map[string]string{"listen": c.Listen, "metrics-listen": c.MetricsListen} {
		if address == "" {
			continue
		}
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return &SettingError{flag, address, "an address and a port such as 127.0.0.1:8080"}
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return &SettingError{"tls-cert", c.CertFile, "both --tls-cert and --tls-key, or neither"}
	}
	if c.PublicURL == "" {
		if c.OIDC != nil {
			return &SettingError{"public-url", "", "the address at which people reach this service, since --oidc-issuer sends them back there"}
		}
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return &SettingError{"public-url", c.PublicURL, "a scheme and a host, such as https://ingest.example.com"}
	}
	return nil
}

// reached is how people reach the service, and whether that is by https all the way to the first proxy.
func (c Config) reached(local string) (address string, secure bool) {
	address = strings.TrimRight(c.PublicURL, "/")
	if address == "" {
		address = local
	}
	return address, strings.HasPrefix(address, "https://")
}
