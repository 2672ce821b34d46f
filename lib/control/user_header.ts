/** The header in which a client of the control socket says who uses it, for the history. */
export const WHO_HEADER = "balancer-user";
