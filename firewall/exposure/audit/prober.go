package audit

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// NetProber tests services over the host's own network stack. It tests whether a service speaks
// TLS. It doesn't verify certificates, as it doesn't know the name that clients use.
type NetProber struct{ Timeout time.Duration }

// TLS implements Prober.
func (p NetProber) TLS(ctx context.Context, at netip.AddrPort) error {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: p.Timeout}, Config: anyCertificate()}
	ctx, stop := context.WithTimeout(ctx, p.Timeout)
	defer stop()
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// Health implements Prober: a GET that is answered with a status below 400.
func (p NetProber) Health(ctx context.Context, at netip.AddrPort, path string, over bool) error {
	scheme := "http"
	if over {
		scheme = "https"
	}
	client := http.Client{
		Timeout: p.Timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   anyCertificate(),
			Proxy:             nil,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(
		ctx,
		http.MethodGet,
		scheme+"://"+at.String()+path,
		nil,
	)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

func anyCertificate() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
