package firewall

// DeniedError is an ErrPermission where something else than CAP_NET_ADMIN is missing: Words say
// what.
type DeniedError struct {
	Words string
	Err   error // the kernel's
}

func (e DeniedError) Error() string { return e.Words }

// Is reports that it is an ErrPermission.
func (e DeniedError) Is(target error) bool { return target == ErrPermission }

// Unwrap returns the kernel's error.
func (e DeniedError) Unwrap() error { return e.Err }
