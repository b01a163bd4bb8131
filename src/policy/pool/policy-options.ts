/** What tells one version of the policy from another; see `versions.ts`. */
export interface PolicyOptions {
  /** Rows in memory are revoked for who cannot start otherwise. */
  revokes?: boolean;
  /**
   * What an idle engine was asked for and kept is counted on no more, asks may say what is enough, scratch that is charged for rows on their way
   * keeps nobody waiting whose host will not speak of them again, what a failed attempt to move rows may have left is charged until they are gone, and
   * a worker's charge takes back grants on which nobody begins.
   */
  settles?: boolean;
}
